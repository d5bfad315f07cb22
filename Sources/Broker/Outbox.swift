import DequeModule
import ZeroMQ

/// Sends to the peers of a ROUTER. What a slow peer's queue has no room for waits here, within bounds.
final class Outbox {
  enum Delivery { case accepted, gone, full }

  private static let maxMessagesPerPeer = 16_384
  private static let maxBytes = 256 << 20
  /// What a message takes beside its bytes, about: of small ones that is most.
  private static let messageBytes = 256
  /// Entries for peers that nothing is in flight to are cleared away once there are so many.
  private static let maxIdleCounts = 64
  /// A peer that takes nothing for this long is gone. ZeroMQ does not always notice: a full queue can outlive its connection.
  static let patience = Duration.seconds(10)

  private struct Message {
    var frames: [Frame]
    /// A newer message of the same key takes its place.
    var key: UInt64?
  }

  private struct Waiting {
    var messages: Deque<Message> = []
    var bytes = 0
    /// When it began to wait, or last took a message.
    var lastProgress: ContinuousClock.Instant
  }

  private let socket: Socket
  private let maxBytesPerPeer: Int
  private var waiting: [PeerID: Waiting] = [:]
  private var bytes = 0
  /// Of large frames, in ZeroMQ's hands.
  private var inFlight: [PeerID: BytesInFlight] = [:]

  var isEmpty: Bool { waiting.isEmpty }

  /// - Parameter maxBytesPerPeer: that may wait here for one peer. A single message may be larger.
  init(_ socket: Socket, maxBytesPerPeer: Int) {
    self.socket = socket
    self.maxBytesPerPeer = maxBytesPerPeer
  }

  /// Bytes that wait for a peer, here and in ZeroMQ's queue; there only those of large frames count.
  func bytes(to peer: PeerID) -> Int { (waiting[peer]?.bytes ?? 0) + (inFlight[peer]?.count ?? 0) }

  /// The same for all peers together.
  var totalBytes: Int { bytes + inFlight.values.reduce(0) { $0 + $1.count } }

  /// - Parameter key: of a message that is news only until the next of the same key: while they wait, there is only the last of them.
  func send(_ frames: [Frame], to peer: PeerID, replacing key: UInt64? = nil, at now: ContinuousClock.Instant) -> Delivery {
    if waiting[peer] != nil { return enqueue(frames, key, peer, now) }
    do throws(ZeroMQError) {
      try deliver(frames, to: peer)
      return .accepted
    } catch {
      return error.code == .wouldBlock ? enqueue(frames, key, peer, now) : .gone
    }
  }

  /// Tries again what waits, and says who is gone.
  func retry(at now: ContinuousClock.Instant) -> [PeerID] {
    var gone: [PeerID] = []
    for peer in Array(waiting.keys) {
      while let message = waiting[peer]?.messages.first?.frames {
        do throws(ZeroMQError) {
          try deliver(message, to: peer)
        } catch {
          if error.code == .wouldBlock, let last = waiting[peer]?.lastProgress, now - last < Self.patience { break }
          gone.append(peer)
          forget(peer)
          break
        }
        let size = Self.size(message)
        waiting[peer]?.messages.removeFirst()
        waiting[peer]?.bytes -= size
        waiting[peer]?.lastProgress = now
        bytes -= size
      }
      if waiting[peer]?.messages.isEmpty == true { waiting[peer] = nil }
    }
    return gone
  }

  func forget(_ peer: PeerID) {
    bytes -= waiting.removeValue(forKey: peer)?.bytes ?? 0
  }

  private func deliver(_ frames: [Frame], to peer: PeerID) throws(ZeroMQError) {
    let count = frames.count > 1 ? inFlightCount(of: peer) : nil
    try peer.withUnsafeBytes { (id) throws(ZeroMQError) in try socket.send(frames, to: id, counting: count) }
  }

  /// Of messages with tensors; others are small.
  private func inFlightCount(of peer: PeerID) -> BytesInFlight {
    if let count = inFlight[peer] { return count }
    if inFlight.count >= Self.maxIdleCounts { inFlight = inFlight.filter { $0.value.count > 0 } }
    let count = BytesInFlight()
    inFlight[peer] = count
    return count
  }

  private func enqueue(_ message: [Frame], _ key: UInt64?, _ peer: PeerID, _ now: ContinuousClock.Instant) -> Delivery {
    let size = Self.size(message)
    if let key, let index = waiting[peer]?.messages.firstIndex(where: { $0.key == key }) {
      let before = waiting[peer].map { Self.size($0.messages[index].frames) } ?? 0
      waiting[peer]?.messages[index].frames = message
      waiting[peer]?.bytes += size - before
      bytes += size - before
      return .accepted
    }
    var queue = waiting[peer] ?? Waiting(lastProgress: now)
    let hasRoom = queue.messages.isEmpty || queue.bytes + size <= maxBytesPerPeer
    guard queue.messages.count < Self.maxMessagesPerPeer, hasRoom, bytes + size <= Self.maxBytes else { return .full }
    waiting[peer] = nil
    queue.messages.append(Message(frames: message, key: key))
    queue.bytes += size
    bytes += size
    waiting[peer] = queue
    return .accepted
  }

  private static func size(_ message: [Frame]) -> Int { message.reduce(messageBytes) { $0 + $1.count } }
}
