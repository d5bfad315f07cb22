import Wire

/// How long a pass through a stage's network takes, per sample, as the workers measure it: exponentially weighted averages of each stage, and of each numerics class of it.
struct PassTimes {
  private struct Estimate {
    var all = RunningAverage(share: PassTimes.share)
    var byClass: [String: RunningAverage] = [:]
  }

  private static let share = 0.2
  private static let maxClasses = 64
  /// An hour.
  private static let maxMilliseconds = 3_600_000.0

  private var estimates: [StageKey: Estimate] = [:]

  /// Stages that were measured.
  var count: Int { estimates.count }

  mutating func add(_ milliseconds: Double, _ stage: StageKey, numerics: String) {
    guard milliseconds > 0, milliseconds.isFinite else { return }
    let new = min(milliseconds, Self.maxMilliseconds)
    var estimate = estimates[stage] ?? Estimate()
    estimate.all.add(new)
    if estimate.byClass[numerics] != nil || estimate.byClass.count < Self.maxClasses {
      estimate.byClass[numerics, default: RunningAverage(share: Self.share)].add(new)
    }
    estimates[stage] = estimate
  }

  /// `nil`: nothing was measured yet.
  func milliseconds(_ stage: StageKey) -> Double? { estimates[stage]?.all.value }

  func milliseconds(_ stage: StageKey, numerics: String) -> Double? { estimates[stage]?.byClass[numerics]?.value }

  mutating func forget(_ pipeline: PipelineTable.Key) {
    for stage in estimates.keys where stage.pipeline == pipeline { estimates[stage] = nil }
  }
}
