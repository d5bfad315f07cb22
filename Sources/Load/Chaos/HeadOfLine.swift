import Client
import Wire
import Worker

/// Small jobs arrive behind a train of large ones. First come, first served would have them wait for all of it; here those of another tenant
/// and those with a deadline are served as slots become free. And the train loses no more than they take.
func headOfLine(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let shape = ChaosFleet.Shape(stepMilliseconds: 10, slots: 4, checkpointMilliseconds: 2_000)
  var figures: [String: Double] = [:]
  for isOfAnotherTenant in [true, false] {
    let counted = try await ChaosFleet.with(settings, shape) { fleet in
      try await Train(fleet, smallOnes: isOfAnotherTenant ? .ofAnotherTenant : .withDeadline).run()
    }
    figures.merge(counted) { $1 }
  }
  return figures
}

private struct Train {
  enum Small: String {
    case ofAnotherTenant = "tenant"
    case withDeadline = "deadline"
  }

  private static let large: [UInt32] = [80, 80, 80]
  private static let little: [UInt32] = [5, 5, 5]
  private static let samples: UInt32 = 2

  private let fleet: ChaosFleet
  private let smallOnes: Small
  private let submissions: [Submission]

  init(_ fleet: ChaosFleet, smallOnes: Small) {
    self.fleet = fleet
    self.smallOnes = smallOnes
    submissions = (0..<28).map { number in
      let isLarge = number < 20
      var submission = fleet.submission(
        number, samples: isLarge ? Self.samples : 1, steps: isLarge ? Self.large : Self.little)
      submission.tenant = !isLarge && smallOnes == .ofAnotherTenant ? "small" : "train"
      // Long after first come, first served would be done with all of it.
      if !isLarge, smallOnes == .withDeadline { submission.deadlineMilliseconds = 600_000 }
      return submission
    }
  }

  func run() async throws -> [String: Double] {
    let start = ContinuousClock.now
    var jobs: [JobID] = []
    for submission in submissions { jobs.append(try await fleet.client.submit(submission).job) }
    let ends = try await withThrowingTaskGroup(of: (Int, Double).self) { group in
      for (index, job) in jobs.enumerated() {
        group.addTask {
          _ = try await fleet.finished(job)
          return (index, start.duration(to: .now) / .milliseconds(1))
        }
      }
      return try await group.reduce(into: [Int: Double]()) { $0[$1.0] = $1.1 }
    }
    for (job, submission) in zip(jobs, submissions) { try await fleet.verify(job, of: submission) }
    let step = try await measuredStep(jobs)
    let fifo = firstComeFirstServed(step)
    let small = submissions.indices.filter { submissions[$0].runs[0].count == 1 }
    let worst = small.map { ends[$0, default: 0] / fifo[$0] }.max() ?? 0
    let last = (ends.values.max() ?? 0) / (fifo.max() ?? 1)
    try expect(
      worst <= 0.5,
      "a small job (\(smallOnes)) took \(worst) of the time that first come, first served would have given it, at \(step) ms a step")
    try expect(last <= 1.5, "all jobs together took \(last) times as long as first come, first served would have")
    return [
      "small_of_fifo_\(smallOnes.rawValue)": worst, "all_of_fifo_\(smallOnes.rawValue)": last, "step_ms_\(smallOnes.rawValue)": step,
      "small_ms_\(smallOnes.rawValue)": small.map { ends[$0, default: 0] }.max() ?? 0, "fifo_ms_\(smallOnes.rawValue)": fifo[small[0]],
    ]
  }

  /// What a step of the train took, from its history, so that a slow machine is compared with itself.
  private func measuredStep(_ jobs: [JobID]) async throws -> Double {
    var milliseconds = 0.0
    var steps = 0.0
    for (job, submission) in zip(jobs, submissions) where submission.runs[0].count == Self.samples {
      for attempt in try await fleet.client.history(of: job) {
        guard let end = attempt.endedUnixMilliseconds else { continue }
        milliseconds += Double(end) - Double(attempt.startedUnixMilliseconds)
        steps += Double(attempt.lastStep - attempt.firstStep)
      }
    }
    return milliseconds / max(steps, 1)
  }

  /// When each job would be done if every stage took samples in the order in which they come, as many at a time as it has slots.
  private func firstComeFirstServed(_ step: Double) -> [Double] {
    let samples = submissions.enumerated().flatMap { index, submission in Array(repeating: index, count: Int(submission.runs[0].count)) }
    var ready = [Double](repeating: 0, count: samples.count)
    for stage in fleet.stages.indices {
      var free = [Double](repeating: 0, count: fleet.shape.slots)
      for sample in samples.indices.sorted(by: { (ready[$0], $0) < (ready[$1], $1) }) {
        let steps = Double(submissions[samples[sample]].options[stage].steps ?? 0)
        let slot = free.indices.min { free[$0] < free[$1] } ?? 0
        ready[sample] = max(free[slot], ready[sample]) + steps * step
        free[slot] = ready[sample]
      }
    }
    return submissions.indices.map { index in samples.indices.filter { samples[$0] == index }.map { ready[$0] }.max() ?? 0 }
  }
}
