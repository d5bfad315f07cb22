/// A point in time on the broker's two clocks: leases and time-outs go by the monotonic one, the other is for people.
package struct Instant: Hashable, Sendable {
  /// Monotonic, from an arbitrary zero.
  package var milliseconds: Int64
  package var unixMilliseconds: UInt64

  package init(milliseconds: Int64, unixMilliseconds: UInt64) {
    self.milliseconds = milliseconds
    self.unixMilliseconds = unixMilliseconds
  }
}
