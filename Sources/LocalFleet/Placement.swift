/// Which workers compute a pipeline's stages on a machine, so that it makes as many images as it can.
package struct Placement: Hashable, Sendable {
  /// What an image takes of a stage.
  package struct Cost: Hashable, Sendable {
    package var stage: String
    /// Of one core; above 0.
    package var seconds: Double

    package init(stage: String, seconds: Double) {
      self.stage = stage
      self.seconds = seconds
    }
  }

  /// In the pipeline's order.
  package let workers: [FleetPlan.StageWorkers]
  /// For people: one line that says what was decided and why.
  package let reason: String

  /// A worker's threads end each step together, and one of them does what lies between two steps: with more of them than this, more of them wait.
  static let mostThreads = 8
  /// Each worker of all stages holds all weights: with more cores than this, they get more threads instead.
  static let mostSharingWorkers = 8
  /// The part of the cores' time that stages with cores of their own must use for that to be worth it: sharing them uses it all, but takes the weights
  /// several times, and splits what could be computed together.
  static let leastBusy = 0.95

  /// Workers that serve every stage, with a thread a core among them: each core always has something to do, and waits for no other. An image that
  /// is alone in the fleet uses one worker's cores only.
  package static func shared(_ stages: [String], cores: Int, because reason: String) -> Placement {
    let groups = split(cores, among: min(cores, mostSharingWorkers))
    return Placement(
      workers: groups.map { FleetPlan.StageWorkers(stages: stages, count: $0.count, threads: $0.threads) },
      reason:
        "\(cores) cores, shared by \(groups.map { "\($0.count) × \($0.threads)" }.joined(separator: ", ")) workers × threads of every stage: \(reason)"
    )
  }

  /// Divides the cores among the stages, unless that leaves too many of them idle.
  ///
  /// - Parameters:
  ///   - costs: of all stages; at least one.
  ///   - cores: no fewer than stages.
  package static func of(_ costs: [Cost], cores: Int) -> Placement {
    let stages = costs.map(\.stage)
    let seconds = costs.map(\.seconds)
    let parts = division(seconds, of: cores)
    let rate = zip(parts, seconds).map { Double($0) / $1 }.min() ?? 0
    let busy = rate * seconds.reduce(0, +) / Double(cores)
    let figures = costs.map { "\($0.stage) \(rounded($0.seconds)) s" }.joined(separator: ", ")
    guard busy >= leastBusy else {
      return shared(stages, cores: cores, because: "divided, \(Int(busy * 100)) % of them would be busy (\(figures) of a core an image)")
    }
    let workers = zip(stages, parts).flatMap { stage, cores in
      threads(ofWorkersOn: cores).map { FleetPlan.StageWorkers(stages: [stage], count: $0.count, threads: $0.threads) }
    }
    let names = workers.map { "\($0.name) \($0.count) × \($0.threads ?? 1)" }.joined(separator: ", ")
    return Placement(
      workers: workers,
      reason: "\(cores) cores, divided as workers × threads: \(names); \(figures) of a core an image, "
        + "so \(rounded(rate)) images a second keep \(Int(busy * 100)) % of them busy")
  }

  /// Cores of each stage, at least one, all of `cores` together. No other division makes the stage that limits the others faster: it can only
  /// be made faster by a core more, and that is what it is given.
  ///
  /// - Parameters:
  ///   - seconds: what an image takes of each stage.
  ///   - cores: no fewer than stages.
  static func division(_ seconds: [Double], of cores: Int) -> [Int] {
    var parts = seconds.map { _ in 1 }
    for _ in parts.count..<cores {
      let slowest = parts.indices.max { seconds[$0] / Double(parts[$0]) < seconds[$1] / Double(parts[$1]) }
      if let slowest { parts[slowest] += 1 }
    }
    return parts
  }

  /// As few workers as there can be, as equal as they can be; together they have a thread a core.
  static func threads(ofWorkersOn cores: Int) -> [(count: Int, threads: Int)] {
    split(cores, among: (cores + mostThreads - 1) / mostThreads)
  }

  private static func split(_ cores: Int, among workers: Int) -> [(count: Int, threads: Int)] {
    let (threads, larger) = cores.quotientAndRemainder(dividingBy: workers)
    return [(larger, threads + 1), (workers - larger, threads)].filter { $0.0 > 0 }
  }
}

private func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
