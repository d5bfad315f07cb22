/// Why a message can't be sent, or what is wrong with one that was received.
public struct WireError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Code: Hashable, Sendable {
    /// Something is larger than `WireLimits` allows.
    case tooLarge
    /// The frames are not what the envelope says, or bytes are not protobuf.
    case malformed
    /// A field has a value it can't have, or one that has to be there isn't.
    case invalidField
    /// A message that this peer may not send, or that is newer than this program.
    case unexpectedMessage
    case unsupportedVersion
    /// A tensor whose shape, type and bytes don't go together, or that is missing from its message.
    case invalidTensor
  }

  public var code: Code
  /// What was wrong and what to do, for a person.
  public var reason: String
  /// The number of the request it came with, so that it can be refused; `nil` if it couldn't be read.
  public var request: UInt64?

  public init(_ code: Code, _ reason: String, request: UInt64? = nil) {
    self.code = code
    self.reason = reason
    self.request = request
  }

  public var description: String { reason }
}
