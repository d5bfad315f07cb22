package import ZeroMQ

/// Who may use a broker, and as whom: public keys of clients and workers, as the operator lists them.
///
/// One a line, in any order; what follows a `#` at the beginning of a word is a comment:
/// ```
/// client KEY tenant=alice weight=3 max-tasks=5000
/// client KEY tenant=ops admin
/// worker KEY stages=base32,sr64
/// worker KEY stages=*
/// ```
package struct AccessList: Hashable, Sendable {
  package enum Grant: Hashable, Sendable {
    /// - Parameter isAdmin: sees and may stop every tenant's jobs.
    case client(tenant: String, isAdmin: Bool)
    /// - Parameter stages: `nil`: all.
    case worker(stages: Set<String>?)
  }

  /// What a tenant gets if it isn't what others get.
  package struct TenantTerms: Hashable, Sendable {
    package var weight: Double?
    package var maxOpenTasks: Int?
  }

  /// What is wrong with a list.
  package struct Fault: Error, Hashable, Sendable, CustomStringConvertible {
    /// Counts from 1; 0: all of it.
    package var line: Int
    package var reason: String

    package var description: String { line == 0 ? reason : "line \(line): \(reason)" }
  }

  package private(set) var grants: [CurvePublicKey: Grant] = [:]
  package private(set) var tenants: [String: TenantTerms] = [:]

  package init(parsing text: [UInt8]) throws(Fault) {
    for (index, bytes) in text.split(separator: 10, omittingEmptySubsequences: false).enumerated() {
      do throws(Refused) {
        guard let line = String(validating: bytes, as: UTF8.self) else { throw Refused("it is not UTF-8") }
        try read(line)
      } catch {
        throw Fault(line: index + 1, reason: error.reason)
      }
    }
    // Such as a file that is being written just now; whoever means to let nobody in stops the broker.
    if grants.isEmpty { throw Fault(line: 0, reason: "it lists nobody; write lines like 'client KEY tenant=NAME'") }
  }

  private struct Refused: Error {
    var reason: String

    init(_ reason: String) { self.reason = reason }
  }

  private mutating func read(_ line: String) throws(Refused) {
    let all = line.split { $0 == " " || $0 == "\t" || $0 == "\r" }.map(String.init)
    guard let kind = all.first, !kind.hasPrefix("#") else { return }
    guard kind == "client" || kind == "worker" else {
      throw Refused("'\(printable(kind))' is neither client nor worker; write lines like 'client KEY tenant=NAME'")
    }
    guard all.count > 1, let key = CurvePublicKey(all[1]) else {
      let shown = all.count > 1 ? "'\(printable(all[1]))' is no public key" : "the key is missing"
      throw Refused("\(shown): it has 40 characters, as 'weir keygen' prints them and NAME.key holds them")
    }
    guard grants[key] == nil else { throw Refused("the key \(key) is listed twice; each client and each worker has its own") }
    var words = Words(of: kind, all.dropFirst(2).prefix { !$0.hasPrefix("#") })
    grants[key] = kind == "client" ? try readClient(&words) : try readWorker(&words)
    if let unknown = words.rest.first {
      throw Refused("'\(printable(unknown))' means nothing after \(kind) KEY; what does is \(words.known.joined(separator: ", "))")
    }
  }

  private mutating func readClient(_ words: inout Words) throws(Refused) -> Grant {
    guard let tenant = try words.take("tenant=NAME") else { throw Refused("the client has no tenant; add tenant=NAME") }
    guard tenant.utf8.count <= Admission.maxTenantBytes else {
      throw Refused("the tenant's name has \(tenant.utf8.count) bytes; at most \(Admission.maxTenantBytes) are allowed")
    }
    var terms = tenants[tenant] ?? TenantTerms()
    if let text = try words.take("weight=NUMBER") {
      guard let weight = Double(text), BrokerLimits.weightRange.contains(weight) else {
        throw Refused("weight=\(printable(text)): give a number from 0.001 to 1000000")
      }
      guard terms.weight ?? weight == weight else { throw Refused("tenant '\(printable(tenant))' has another weight above") }
      terms.weight = weight
    }
    if let text = try words.take("max-tasks=NUMBER") {
      guard let count = Int(text), count >= 1 else { throw Refused("max-tasks=\(printable(text)): give a whole number from 1 on") }
      guard terms.maxOpenTasks ?? count == count else { throw Refused("tenant '\(printable(tenant))' has another max-tasks above") }
      terms.maxOpenTasks = count
    }
    tenants[tenant] = terms
    return .client(tenant: tenant, isAdmin: try words.take("admin") != nil)
  }

  private func readWorker(_ words: inout Words) throws(Refused) -> Grant {
    guard let list = try words.take("stages=NAME,…") else {
      throw Refused("the worker has no stages; add stages=NAME,… or stages=* for all")
    }
    if list == "*" { return .worker(stages: nil) }
    let stages = list.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    guard stages.allSatisfy({ !$0.isEmpty && $0 != "*" }) else {
      throw Refused("stages=\(printable(list)): write names with commas between them and no spaces, or * alone for all")
    }
    return .worker(stages: Set(stages))
  }

  /// What follows a key.
  private struct Words {
    private let kind: String
    private(set) var rest: [String]
    private(set) var known: [String] = []

    init(of kind: String, _ words: some Sequence<String>) {
      self.kind = kind
      rest = Array(words)
    }

    /// Takes out the value of a word like `name=VALUE`, or a word by itself.
    mutating func take(_ form: String) throws(Refused) -> String? {
      known.append(form)
      let name = form.prefix { $0 != "=" }
      let isFlag = name.utf8.count == form.utf8.count
      let found = rest.filter { isFlag ? $0 == form : $0.hasPrefix("\(name)=") }
      guard let word = found.first else { return nil }
      guard found.count == 1 else { throw Refused("\(name) is given twice") }
      rest.removeAll { $0 == word }
      guard !isFlag else { return word }
      let value = String(word.dropFirst(name.count + 1))
      guard !value.isEmpty else { throw Refused("\(name)= has no value; write \(form)") }
      return value
    }
  }
}

/// A text from outside, short and without what a terminal would obey.
private func printable(_ text: String) -> String {
  clip(String(String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 })), 100)
}
