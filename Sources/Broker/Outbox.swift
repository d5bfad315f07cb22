import DequeModule
import ZeroMQ

/// Sends to the peers of a ROUTER. What a slow peer's queue has no room for waits here, within bounds.
final class Outbox {
  enum Delivery { case accepted, gone, full }

  private static let maxMessagesPerPeer = 16_384
  private static let maxBytesPerPeer = 64 << 20
  private static let maxBytes = 256 << 20
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
  private var waiting: [PeerID: Waiting] = [:]
  private var bytes = 0

  var isEmpty: Bool { waiting.isEmpty }

  init(_ socket: Socket) { self.socket = socket }

  /// Bytes that wait for a peer.
  func bytes(to peer: PeerID) -> Int { waiting[peer]?.bytes ?? 0 }

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
    try peer.withUnsafeBytes { (id) throws(ZeroMQError) in try socket.send(frames, to: id) }
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
    guard queue.messages.count < Self.maxMessagesPerPeer, queue.bytes + size <= Self.maxBytesPerPeer, bytes + size <= Self.maxBytes
    else { return .full }
    waiting[peer] = nil
    queue.messages.append(Message(frames: message, key: key))
    queue.bytes += size
    bytes += size
    waiting[peer] = queue
    return .accepted
  }

  private static func size(_ message: [Frame]) -> Int { message.reduce(0) { $0 + $1.count } }
}
