/// What a message may hold. A peer that exceeds these is answered with an error, before memory is taken for it.
public enum WireLimits {
  /// Bytes of an envelope.
  public static let envelopeBytes = 64 << 10
  /// Tensors of a message.
  public static let tensors = 16
  /// Bytes of one tensor's data.
  public static let tensorBytes = 64 << 20
  /// Bytes of a tensor's header frame.
  public static let tensorHeaderBytes = 1 << 10
  /// Axes of a tensor.
  public static let rank = 4
  /// Bytes of a name: of a pipeline, stage, label, sampler, worker, host, tensor, numerics class, idempotency key.
  public static let nameBytes = 256
  /// Bytes of a text for people. A longer one is cut when it is sent; a sample's error, of which there may be a thousand, to `nameBytes`.
  public static let textBytes = 2048
  /// Frames of a message, the routing id not counted.
  public static let frames = 1 + 2 * tensors
}
