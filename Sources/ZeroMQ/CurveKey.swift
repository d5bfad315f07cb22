import CZeroMQ
import Glibc

/// The public half of a CURVE key pair: 32 bytes, written as 40 characters of Z85 (ZeroMQ RFC 32).
package struct CurvePublicKey: Hashable, Sendable, CustomStringConvertible {
  /// 40 characters.
  package let text: String

  /// `nil` if `text` is not 40 characters of Z85.
  package init?(_ text: some StringProtocol) {
    guard isKey(String(text)) else { return nil }
    self.text = String(text)
  }

  /// One that a handshake proved and an `Authenticator` let in.
  init(proven text: String) { self.text = text }

  /// From the 32 bytes that a connection's handshake proved.
  package init?(bytes: [UInt8]) {
    guard bytes.count == 32 else { return nil }
    var buffer = [CChar](repeating: 0, count: 41)
    guard zmq_z85_encode(&buffer, bytes, bytes.count) != nil else { return nil }
    text = String(decoding: buffer.prefix(40).map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  package var description: String { text }
}

/// The half that stays where it was made.
package struct CurveSecretKey: Hashable, Sendable, CustomStringConvertible {
  /// 40 characters.
  package let text: String

  /// `nil` if `text` is not 40 characters of Z85.
  package init?(_ text: some StringProtocol) {
    guard isKey(String(text)) else { return nil }
    self.text = String(text)
  }

  /// What it is must not end up in a log.
  package var description: String { "(secret key)" }
}

package struct CurveKeyPair: Hashable, Sendable {
  package let publicKey: CurvePublicKey
  package let secretKey: CurveSecretKey

  /// A new pair.
  package static func generate() throws(ZeroMQError) -> CurveKeyPair {
    var (shown, hidden) = ([CChar](repeating: 0, count: 41), [CChar](repeating: 0, count: 41))
    guard zmq_curve_keypair(&shown, &hidden) == 0 else { throw ZeroMQError(errno: zmq_errno(), operation: "make a key pair") }
    guard let publicKey = CurvePublicKey(string(shown)), let secretKey = CurveSecretKey(string(hidden)) else {
      throw ZeroMQError(.other, operation: "make a key pair")
    }
    return CurveKeyPair(publicKey: publicKey, secretKey: secretKey)
  }

  private init(publicKey: CurvePublicKey, secretKey: CurveSecretKey) {
    self.publicKey = publicKey
    self.secretKey = secretKey
  }

  /// The pair of a secret key, which the public one follows from.
  package init(_ secretKey: CurveSecretKey) throws(ZeroMQError) {
    var shown = [CChar](repeating: 0, count: 41)
    guard zmq_curve_public(&shown, secretKey.text) == 0, let publicKey = CurvePublicKey(string(shown)) else {
      throw ZeroMQError(errno: zmq_errno(), operation: "compute a public key")
    }
    self.init(publicKey: publicKey, secretKey: secretKey)
  }
}

private func isKey(_ text: String) -> Bool {
  guard text.utf8.count == 40 else { return false }
  var bytes = [UInt8](repeating: 0, count: 32)
  return zmq_z85_decode(&bytes, text) != nil
}

private func string(_ buffer: [CChar]) -> String {
  String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}
