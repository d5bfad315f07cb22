import CZeroMQ
import Glibc

/// One frame of a message: immutable bytes, shared by reference and equal by content.
///
/// A frame owns its memory, or a received ZeroMQ message whose memory it shows. Sending one hands that memory to ZeroMQ,
/// which keeps the frame alive until it is on the wire: no bytes are copied in user space, in either direction.
public final class Frame: @unchecked Sendable, Hashable {
  // Unchecked: nothing changes after `init`, and `deinit` runs once, on whichever thread drops the last reference,
  // which both `free` and `zmq_msg_close` allow.

  private enum Owner {
    case memory
    case message(UnsafeMutablePointer<zmq_msg_t>)
  }

  private let base: UnsafeRawPointer?
  public let count: Int
  private let owner: Owner

  /// Copies `bytes`.
  public convenience init(_ bytes: [UInt8]) {
    self.init(count: bytes.count) { memory in bytes.withUnsafeBytes { memory.copyMemory(from: $0) } }
  }

  /// Copies the bytes.
  public convenience init(copying bytes: UnsafeRawBufferPointer) {
    self.init(count: bytes.count) { $0.copyMemory(from: bytes) }
  }

  /// `count` bytes that `fill` writes; it must write all of them.
  public init(count: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) {
    if count > 0 {
      // Tensors worth it are aligned for vector loads of any element type; envelopes are cheaper without.
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: count >= 4096 ? 64 : 16)
      fill(memory)
      base = UnsafeRawPointer(memory.baseAddress)
    } else {
      fill(UnsafeMutableRawBufferPointer(start: nil, count: 0))
      base = nil
    }
    self.count = count
    owner = .memory
  }

  /// Takes over a received message, which has been allocated and will be closed and deallocated here.
  init(adopting message: UnsafeMutablePointer<zmq_msg_t>) {
    base = UnsafeRawPointer(zmq_msg_data(message))
    count = zmq_msg_size(message)
    owner = .message(message)
  }

  deinit {
    switch owner {
    case .memory:
      base?.deallocate()
    case .message(let message):
      zmq_msg_close(message)
      message.deallocate()
    }
  }

  /// The bytes are valid only inside `body`.
  public func withUnsafeBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try withExtendedLifetime(self) { () throws(Failure) in
      try body(UnsafeRawBufferPointer(start: base, count: count))
    }
  }

  /// A copy of the bytes.
  public var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

  public static func == (a: Frame, b: Frame) -> Bool {
    if a === b { return true }
    guard a.count == b.count else { return false }
    guard let left = a.base, let right = b.base else { return true }
    return memcmp(left, right, a.count) == 0
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(count)
    withUnsafeBytes { hasher.combine(bytes: $0) }
  }
}

extension Frame: CustomStringConvertible {
  public var description: String { "Frame(\(count) bytes)" }
}
