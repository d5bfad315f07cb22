import Glibc

/// Keys on disk, in the files of CZMQ and pyzmq: `NAME.key` holds the public key and may be shown to anyone, `NAME.key_secret` both.
package enum CurveCertificate {
  /// What is wrong with a certificate's file.
  package struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
  }

  /// Writes `NAME.key` and, readable by its owner alone, `NAME.key_secret`. Files that are there are left as they are and refused.
  package static func write(_ pair: CurveKeyPair, to name: String) throws(Failure) -> (publicPath: String, secretPath: String) {
    let shown = "\(name).key"
    let hidden = "\(name).key_secret"
    try create(hidden, mode: 0o600, text(pair.publicKey, pair.secretKey))
    do throws(Failure) {
      try create(shown, mode: 0o644, text(pair.publicKey, nil))
    } catch {
      unlink(hidden)
      throw error
    }
    return (shown, hidden)
  }

  /// The pair of a `.key_secret` file. One that others may read is refused.
  package static func pair(_ path: String) throws(Failure) -> CurveKeyPair {
    let (fields, mode) = try read(path)
    guard let text = fields["secret-key"] else {
      throw Failure(description: "\(path): it has no secret-key; give the .key_secret file that 'weir keygen' wrote")
    }
    guard mode & 0o077 == 0 else {
      throw Failure(description: "\(path): others may read this secret key; chmod 600 it, and make a new one if anyone has seen it")
    }
    guard let secret = CurveSecretKey(text) else { throw Failure(description: "\(path): its secret-key is not 40 characters of Z85") }
    do throws(ZeroMQError) { return try CurveKeyPair(secret) } catch { throw Failure(description: "\(path): \(error)") }
  }

  /// The public key of a `.key` or `.key_secret` file.
  package static func publicKey(_ path: String) throws(Failure) -> CurvePublicKey {
    let (fields, _) = try read(path)
    guard let text = fields["public-key"] else { throw Failure(description: "\(path): it has no public-key; give a .key file") }
    guard let key = CurvePublicKey(text) else { throw Failure(description: "\(path): its public-key is not 40 characters of Z85") }
    return key
  }

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  private static func text(_ publicKey: CurvePublicKey, _ secretKey: CurveSecretKey?) -> String {
    let note = secretKey == nil ? "Public: give it to whoever is to let this key in." : "Secret: it never leaves this machine."
    let secret = secretKey.map { "    secret-key = \"\($0.text)\"\n" } ?? ""
    return "#   ZeroMQ CURVE certificate. \(note)\nmetadata\ncurve\n    public-key = \"\(publicKey.text)\"\n\(secret)"
  }

  private static func create(_ path: String, mode: mode_t, _ text: String) throws(Failure) {
    let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard file >= 0 else {
      let reason = errno == EEXIST ? "it is there already; remove it first if nobody uses it" : String(cString: strerror(errno))
      throw Failure(description: "\(path): cannot be made: \(reason)")
    }
    defer { close(file) }
    let bytes = Array(text.utf8)
    guard Glibc.write(file, bytes, bytes.count) == bytes.count, fsync(file) == 0 else {
      let reason = String(cString: strerror(errno))
      unlink(path)
      throw Failure(description: "\(path): cannot be written: \(reason)")
    }
  }

  /// The lines `name = "value"` of the section `curve`.
  private static func read(_ path: String) throws(Failure) -> (fields: [String: String], mode: mode_t) {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw Failure(description: "\(path): cannot be read: \(String(cString: strerror(errno)))") }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size <= 65_536 else {
      throw Failure(description: "\(path): it is no certificate; 'weir keygen' makes one")
    }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    let count = Glibc.read(file, &bytes, bytes.count)
    guard count == bytes.count else { throw Failure(description: "\(path): cannot be read: \(String(cString: strerror(errno)))") }
    var fields: [String: String] = [:]
    var isCurve = false
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") where !line.hasPrefix("#") {
      if let first = line.first, !first.isWhitespace {
        isCurve = line.trimmingSpaces == "curve"
      } else if isCurve, let equals = line.firstIndex(of: "=") {
        let value = line[line.index(after: equals)...].trimmingSpaces
        guard value.count >= 2, value.hasPrefix("\""), value.hasSuffix("\"") else { continue }
        fields[line[..<equals].trimmingSpaces] = String(value.dropFirst().dropLast())
      }
    }
    return (fields, status.st_mode)
  }
}

extension Substring {
  fileprivate var trimmingSpaces: String {
    let start = drop { $0.isWhitespace }
    return String(start.reversed().drop { $0.isWhitespace }.reversed())
  }
}
