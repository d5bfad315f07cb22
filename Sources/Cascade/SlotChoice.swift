import Foundation

/// How many tasks of a stage a worker steps together, and why.
package struct SlotChoice: Hashable, Sendable {
  /// At least 1, at most 256.
  package let slots: Int
  /// For the log.
  package let reason: String

  /// The smallest batch that is nearly as fast as the fastest, of those there is memory for: what is beyond makes each task wait longer and no more
  /// of them come out.
  ///
  /// - Parameter freeBytes: half of it may be used, for this worker is not alone; `nil`: memory is no object.
  package init(_ profile: StageProfile, freeBytes: Int?) {
    let room = freeBytes.map { profile.memory.largestBatch(in: $0 / 2) } ?? .max
    let fitting = profile.timings.filter { $0.batch <= min(room, ProfilePlan.largestBatch) }
    let bound = freeBytes.map { "half of the free \($0 / 1_000_000) MB has room for \(room)" } ?? "memory unknown"
    guard let best = fitting.map(\.millisecondsPerSample).min(),
      let chosen = fitting.first(where: { $0.millisecondsPerSample <= best * (1 + ProfilePlan.tolerance) })
    else {
      slots = 1
      reason = bound
      return
    }
    slots = chosen.batch
    let times = fitting.map { String(format: "%d: %.1f", $0.batch, $0.millisecondsPerSample) }.joined(separator: ", ")
    reason = "the smallest batch within \(Int(ProfilePlan.tolerance * 100)) % of the fastest, by ms a step and sample (\(times)); \(bound)"
  }
}
