import Wire

/// How long a pass through a stage's network takes, per sample, as the workers measure it: exponentially weighted averages of each stage, and of each numerics class of it.
struct PassTimes {
  private struct Estimate {
    var all: Double
    var byClass: [String: Double]
  }

  /// What a new measurement counts.
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
    var estimate = estimates[stage] ?? Estimate(all: new, byClass: [:])
    estimate.all += Self.share * (new - estimate.all)
    if let old = estimate.byClass[numerics] {
      estimate.byClass[numerics] = old + Self.share * (new - old)
    } else if estimate.byClass.count < Self.maxClasses {
      estimate.byClass[numerics] = new
    }
    estimates[stage] = estimate
  }

  /// `nil`: nothing was measured yet.
  func milliseconds(_ stage: StageKey) -> Double? { estimates[stage]?.all }

  func milliseconds(_ stage: StageKey, numerics: String) -> Double? { estimates[stage]?.byClass[numerics] }

  mutating func forget(_ pipeline: PipelineTable.Key) {
    for stage in estimates.keys where stage.pipeline == pipeline { estimates[stage] = nil }
  }
}
