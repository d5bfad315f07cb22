/// When a new job will be done, from what the workers measured.
///
/// The fleet is taken for a fluid: a stage's workers share its work evenly. What counts as ahead of the job in a stage is the work of higher
/// classes, its tenant's own work with earlier deadlines, and of each other tenant in its class as much as fair sharing gives that tenant while
/// the job is served, or all it has if that is less.
struct Forecast {
  /// One stage of the pipeline; times in milliseconds of one worker.
  struct Stage {
    var workers: Int
    /// One sample's steps.
    var sample: Double
    /// Of higher priority classes.
    var higher = 0.0
    /// Of the job's tenant, with earlier deadlines.
    var own = 0.0
    /// Of each other tenant in the class.
    var others: [(work: Double, weight: Double)] = []

    /// Until the stage has done `samples` of the job and all that goes before them.
    func drain(samples: Int, weight: Double) -> Double {
      let mine = own + Double(samples) * sample
      let theirs = others.reduce(0) { $0 + min($1.work, mine * $1.weight / weight) }
      return (higher + mine + theirs) / Double(workers)
    }
  }

  var stages: [Stage]

  /// Milliseconds until `samples` samples have passed every stage: each stage once, and what the slowest needs for all that is before it.
  func milliseconds(samples: Int, weight: Double) -> Double {
    let through = stages.reduce(0) { $0 + $1.sample }
    let wait = stages.map { $0.drain(samples: samples, weight: weight) - $0.sample }.max() ?? 0
    return through + max(0, wait)
  }
}
