import Synchronization

/// How many bytes of what was sent to somebody ZeroMQ still holds: they wait in its queue, or for the kernel to take them. Its own high-water
/// marks count messages, and of large ones a few are too many. Frames that ZeroMQ copies, the small ones, are not counted.
package final class BytesInFlight: Sendable {
  private let bytes = Atomic<Int>(0)

  package init() {}

  package var count: Int { bytes.load(ordering: .relaxed) }

  func add(_ count: Int) { bytes.add(count, ordering: .relaxed) }
  func remove(_ count: Int) { bytes.subtract(count, ordering: .relaxed) }
}
