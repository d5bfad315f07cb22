import Client
import SeededRandom
import Wire

/// One tenant floods the fleet with large jobs, another wants a small one a second: its times are compared with those it has when nobody else
/// is there, before and after.
func fairness(_ settings: Chaos.Settings) async throws -> [String: Double] {
  // A task is never stopped for another, so what a small job waits for at each stage is the next slot. Here there are so many that one is free
  // before long, and steps take so long that it is not the machine's other work that decides.
  let shape = ChaosFleet.Shape(perStage: 2, stepMilliseconds: 40, slots: 32, checkpointMilliseconds: 2_000)
  return try await ChaosFleet.with(settings, shape) { fleet in
    var random = SplitMix64(seed: settings.seed)
    let flood = (0..<10_000).map { number in
      var submission = fleet.submission(number, samples: 4, steps: (0..<3).map { _ in UInt32.random(in: 40...120, using: &random) })
      submission.tenant = "a"
      return submission
    }
    let small = SmallJobs(fleet, tenant: "b", steps: [25, 25, 25])
    let idle = try await small.times(of: 15, from: 1_000_000)
    let jobs = try await fleet.submitAll(flood)
    let pressed = try await small.times(of: 45, from: 2_000_000)
    let behind = try await fleet.client.status(of: jobs[jobs.count - 1]).state
    try expect(behind == .queued, "the flood was over before its end: the last job is \(behind)")
    try await fleet.cancelAll(jobs)
    let relieved = try await small.times(of: 10, from: 3_000_000)
    let figures = [
      "idle_ms_p50": quantile(0.5, of: idle), "idle_ms_p99": quantile(0.99, of: idle), "pressed_ms_p50": quantile(0.5, of: pressed),
      "pressed_ms_p99": quantile(0.99, of: pressed), "relieved_ms_p99": quantile(0.99, of: relieved),
    ]
    for (phase, times) in [("under pressure", pressed), ("after it", relieved)] {
      let (p99, alone) = (quantile(0.99, of: times), quantile(0.99, of: idle))
      try expect(p99 <= 2 * alone, "p99 of small jobs is \(Int(p99)) ms \(phase), and \(Int(alone)) ms on an idle fleet: \(figures)")
    }
    return figures
  }
}

/// Two tenants with more work than the fleet can do get parts of it as their weights say, in steps, though one has longer tasks.
func weights(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let shape = ChaosFleet.Shape(
    perStage: 2, stepMilliseconds: 20, slots: 8, checkpointMilliseconds: 2_000, brokerOptions: ["--weight", "a=3"])
  return try await ChaosFleet.with(settings, shape) { fleet in
    var jobs: [JobID] = []
    for (number, (tenant, steps)) in [("a", UInt32(40)), ("b", 25)].enumerated() {
      var submission = fleet.submission(number, samples: 5_000, steps: [steps, steps, steps])
      submission.tenant = tenant
      jobs.append(try await fleet.client.submit(submission).job)
    }
    /// Steps of each, once there are so many of all.
    func work(beyond least: Double) async throws -> [Double] {
      while true {
        var steps: [Double] = []
        for job in jobs { steps.append(Double(try await fleet.client.status(of: job).stages.reduce(0) { $0 + $1.stepsDone })) }
        if steps.reduce(0, +) >= least { return steps }
        try await Task.sleep(for: .milliseconds(50))
      }
    }
    // The first steps fill the stages.
    let before = try await work(beyond: 8_000)
    let after = try await work(beyond: 56_000)
    let done = zip(before, after).map { $1 - $0 }
    try await fleet.cancelAll(jobs)
    let ratio = done[0] / done[1]
    try expect(abs(ratio / 3 - 1) <= 0.05, "work was done \(done[0]) to \(done[1]) steps, \(ratio):1, with weights 3:1")
    return ["steps_a": done[0], "steps_b": done[1], "ratio": ratio]
  }
}

/// Small jobs that come at a fixed rate, whatever the fleet does.
struct SmallJobs {
  /// Who waits longer is starved.
  private static let patience = Duration.seconds(60)

  private let fleet: ChaosFleet
  private let tenant: String
  private let steps: [UInt32]

  init(_ fleet: ChaosFleet, tenant: String, steps: [UInt32]) {
    self.fleet = fleet
    self.tenant = tenant
    self.steps = steps
  }

  func submission(_ number: Int) -> Submission {
    var submission = fleet.submission(number, samples: 1, steps: steps)
    submission.tenant = tenant
    return submission
  }

  /// Milliseconds from when each was due, one a second, to its end. Afterwards their images are looked at.
  func times(of count: Int, from first: Int) async throws -> [Double] {
    let start = ContinuousClock.now
    let ended = try await withThrowingTaskGroup(of: (number: Int, job: JobID, milliseconds: Double).self) { group in
      for index in 0..<count {
        group.addTask {
          let due = start + .seconds(index)
          try await Task.sleep(until: due)
          let job = try await fleet.client.submit(submission(first + index)).job
          try await end(of: job, by: due + Self.patience)
          return (first + index, job, due.duration(to: .now) / .milliseconds(1))
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    for one in ended { try await fleet.verify(one.job, of: submission(one.number)) }
    return ended.map(\.milliseconds)
  }

  private func end(of job: JobID, by end: ContinuousClock.Instant) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { _ = try await fleet.finished(job) }
      group.addTask {
        try await Task.sleep(until: end)
        throw Broken("small job \(job) is \(try await fleet.client.status(of: job).state) after \(Self.patience)")
      }
      try await group.next()
      group.cancelAll()
    }
  }
}

extension ChaosFleet {
  /// Some at a time, so that many take less long. In their order.
  func submitAll(_ submissions: [Submission]) async throws -> [JobID] {
    try await concurrently(submissions) { try await self.client.submit($0).job }
  }

  func cancelAll(_ jobs: [JobID]) async throws {
    // The newest first, so that nothing of those behind begins meanwhile.
    _ = try await concurrently(jobs.reversed()) { try await self.client.cancel($0) }
  }

  private func concurrently<Item: Sendable, Result: Sendable>(
    _ items: [Item], _ body: @escaping @Sendable (Item) async throws -> Result
  ) async throws -> [Result] {
    let width = 32
    let parts = try await withThrowingTaskGroup(of: [(Int, Result)].self) { group in
      for lane in 0..<width {
        group.addTask {
          var results: [(Int, Result)] = []
          for index in stride(from: lane, to: items.count, by: width) { results.append((index, try await body(items[index]))) }
          return results
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    return parts.sorted { $0.0 < $1.0 }.map(\.1)
  }
}
