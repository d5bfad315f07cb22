package import ZeroMQ

/// Who sent the broker a message, as the connection proved. What that sender may do is up to the core.
package struct Sender: Hashable, Sendable {
  /// `nil` if the broker works without keys.
  package var key: CurvePublicKey?
  /// The IP address it came from; empty without keys.
  package var address: String

  package init(key: CurvePublicKey? = nil, address: String = "") {
    self.key = key
    self.address = address
  }
}

/// An event, and who sent the message that it is.
package struct Arrival: Sendable {
  package var event: Event
  package var sender: Sender

  package init(_ event: Event, from sender: Sender = Sender()) {
    self.event = event
    self.sender = sender
  }
}

/// What a sender may do.
enum Principal: Hashable {
  /// Anything, as anyone: the broker works without keys.
  case anyone
  case client(tenant: String, isAdmin: Bool)
  /// `stages` is `nil` for all.
  case worker(stages: Set<String>?)
  /// Nothing: its key is not on the list, any more.
  case nobody

  /// Whose jobs it sees; `nil`: everyone's.
  var tenantInView: String? {
    switch self {
    case .anyone, .client(_, isAdmin: true): nil
    case .client(let tenant, isAdmin: false): tenant
    // No tenant has this name.
    case .worker, .nobody: ""
    }
  }

  func mayNotServe(_ stage: String) -> Bool {
    switch self {
    case .anyone: false
    case .worker(let stages): stages.map { !$0.contains(stage) } ?? false
    case .client, .nobody: true
    }
  }

  /// The tenant whose jobs it submits; `nil`: whichever the submission names.
  var ownTenant: String? { if case .client(let tenant, _) = self { tenant } else { nil } }
}

extension AccessList {
  func principal(of key: CurvePublicKey?) -> Principal {
    switch key.flatMap({ grants[$0] }) {
    case nil: .nobody
    case .client(let tenant, let isAdmin)?: .client(tenant: tenant, isAdmin: isAdmin)
    case .worker(let stages)?: .worker(stages: stages)
    }
  }
}
