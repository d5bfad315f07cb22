public import Wire

/// Why a request of a ``WeirClient`` has no answer.
public struct ClientError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What kind of failure it was. More kinds may come.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    private enum Kind: String {
      case refused, denied, badKeys, unreachable, protocolViolation, corrupted, invalidEndpoint, invalidRequest, closed, cancelled
    }
    private var kind: Kind

    private init(_ kind: Kind) { self.kind = kind }

    /// The broker said no; ``ClientError/refusal`` says why.
    public static let refused = Code(.refused)
    /// The broker does not let this client in: its key is not on the list, or one of the two works with keys and the other without.
    public static let denied = Code(.denied)
    /// The client's keys cannot be read or are no keys.
    public static let badKeys = Code(.badKeys)
    /// Nobody answered within the patience.
    public static let unreachable = Code(.unreachable)
    /// Somebody answered, but not as Weir's protocol says.
    public static let protocolViolation = Code(.protocolViolation)
    /// A fetched image's bytes do not have the digest that came with it.
    public static let corrupted = Code(.corrupted)
    /// The broker's address is no ZeroMQ endpoint.
    public static let invalidEndpoint = Code(.invalidEndpoint)
    /// The request does not fit on the wire: a name is too long, or all of it larger than an envelope (64 KiB).
    public static let invalidRequest = Code(.invalidRequest)
    /// ``WeirClient/close()`` was called.
    public static let closed = Code(.closed)
    /// The calling task was cancelled.
    public static let cancelled = Code(.cancelled)

    public var description: String { kind.rawValue }
  }

  public var code: Code
  /// What was wrong and what to do, for a person.
  public var message: String
  /// With ``Code/refused``: the broker's own words, and whether to ask again later.
  public var refusal: Refusal?

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  public init(_ refusal: Refusal) {
    self.code = .refused
    self.message = refusal.reason
    self.refusal = refusal
  }

  public var description: String { message }
}
