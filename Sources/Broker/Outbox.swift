import DequeModule
import ZeroMQ

/// Sends to the peers of a ROUTER. What a slow peer's queue has no room for waits here, within bounds.
final class Outbox {
  enum Delivery { case accepted, gone, full }

  private static let maxMessagesPerPeer = 16_384
  private static let maxBytesPerPeer = 64 << 20
  private static let maxBytes = 256 << 20

  private struct Waiting {
    var messages: Deque<[Frame]> = []
    var bytes = 0
  }

  private let socket: Socket
  private var waiting: [PeerID: Waiting] = [:]
  private var bytes = 0

  var isEmpty: Bool { waiting.isEmpty }

  init(_ socket: Socket) { self.socket = socket }

  func send(_ frames: [Frame], to peer: PeerID) -> Delivery {
    let message = [Frame(peer.bytes)] + frames
    if waiting[peer] != nil { return enqueue(message, peer) }
    do throws(ZeroMQError) {
      try socket.send(message)
      return .accepted
    } catch {
      return error.code == .wouldBlock ? enqueue(message, peer) : .gone
    }
  }

  /// Tries again what waits, and says who is gone.
  func retry() -> [PeerID] {
    var gone: [PeerID] = []
    for peer in Array(waiting.keys) {
      while let message = waiting[peer]?.messages.first {
        do throws(ZeroMQError) {
          try socket.send(message)
        } catch {
          if error.code == .wouldBlock { break }
          gone.append(peer)
          forget(peer)
          break
        }
        let size = Self.size(message)
        waiting[peer]?.messages.removeFirst()
        waiting[peer]?.bytes -= size
        bytes -= size
      }
      if waiting[peer]?.messages.isEmpty == true { waiting[peer] = nil }
    }
    return gone
  }

  func forget(_ peer: PeerID) {
    bytes -= waiting.removeValue(forKey: peer)?.bytes ?? 0
  }

  private func enqueue(_ message: [Frame], _ peer: PeerID) -> Delivery {
    let size = Self.size(message)
    var queue = waiting[peer] ?? Waiting()
    guard queue.messages.count < Self.maxMessagesPerPeer, queue.bytes + size <= Self.maxBytesPerPeer, bytes + size <= Self.maxBytes
    else { return .full }
    waiting[peer] = nil
    queue.messages.append(message)
    queue.bytes += size
    bytes += size
    waiting[peer] = queue
    return .accepted
  }

  private static func size(_ message: [Frame]) -> Int { message.reduce(0) { $0 + $1.count } }
}
