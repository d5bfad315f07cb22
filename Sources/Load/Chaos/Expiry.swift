import Client
import Glibc
import SeededRandom
import Wire

/// A job that expires in the queue never starts; one that expires at work stops at a step, and its slot serves others; one that cannot be done
/// in time is refused up front.
func deadlines(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(stepMilliseconds: 10, slots: 1)) { fleet in
    // Before every stage was measured nothing is predicted, so both are accepted.
    var running = fleet.submission(1, samples: 1, steps: [1_000, 1, 1])
    running.deadlineMilliseconds = 3_000
    let runner = try await fleet.client.submit(running).job
    _ = try await fleet.wait(for: runner, "its first step") { ($0.stage("base32")?.stepsDone ?? 0) > 0 }
    var queued = fleet.submission(2, samples: 2, steps: [5, 5, 5])
    queued.deadlineMilliseconds = 1_000
    // Behind the other, whose slot is the only one.
    let waiter = try await fleet.client.submit(queued).job

    let waited = try await fleet.finished(waiter)
    try expect(waited.state == .expired, "the job that waited beyond its deadline is \(waited.state)")
    // The worker may have been given one ahead.
    let attempts = try await fleet.client.history(of: waiter)
    try expect(
      attempts.count <= 1 && attempts.allSatisfy { $0.state == .cancelled && $0.lastStep == 0 },
      "what expired in the queue was begun: \(attempts)")
    let stopped = try await fleet.finished(runner)
    try expect(stopped.state == .expired, "the job that worked beyond its deadline is \(stopped.state)")
    let steps = stopped.stage("base32")?.stepsDone ?? 0
    try expect(steps > 0 && steps < 1_000, "it was stopped after \(steps) of 1000 steps")

    // The slot is free, and its worker takes no step of the old job any more.
    let next = fleet.submission(3, samples: 2, steps: [5, 5, 5])
    try await fleet.verify(try await fleet.client.submit(next).job, of: next)
    let later = try await fleet.client.status(of: runner).stage("base32")?.stepsDone ?? 0
    try expect(later == steps, "the stopped job went from step \(steps) to \(later)")
    let held = try await fleet.client.workers().reduce(0) { $0 + $1.running }
    try expect(held == 0, "nothing is left to do, and workers hold \(held) tasks")

    var hopeless = fleet.submission(4, samples: 1, steps: [1_000, 1, 1])
    hopeless.deadlineMilliseconds = 1_000
    do {
      _ = try await fleet.client.submit(hopeless)
      throw Broken("10 s of work within 1 s were accepted")
    } catch let error as ClientError {
      try expect(error.refusal?.code == .tooLate, "10 s of work within 1 s were refused, but how: \(error)")
    }
    return ["stopped_at_step": Double(steps)]
  }
}

/// Jobs of a few samples at random times, whose deadlines leave twice to five times what they need alone, at three loads.
func deadlineMix(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let shape = ChaosFleet.Shape(stepMilliseconds: 10, slots: 4, checkpointMilliseconds: 2_000)
  return try await ChaosFleet.with(settings, shape) { fleet in
    let mix = DeadlineMix(fleet)
    let perSecond = try await mix.capacity()
    var figures = ["samples_per_second": perSecond]
    for (number, load) in [0.8, 1.0, 1.2].enumerated() {
      let trace = mix.trace(load * perSecond, seed: settings.seed &+ UInt64(number), first: 1_000 * (number + 1))
      let outcome = try await mix.run(trace)
      figures["met_at_\(load)"] = outcome.met
      figures["refused_at_\(load)"] = outcome.refused
    }
    let held = try await fleet.client.workers().reduce(0) { $0 + $1.running }
    try expect(held == 0, "nothing is left to do, and workers hold \(held) tasks")
    let met = figures["met_at_0.8", default: 0]
    try expect(met >= 0.6, "below capacity only \(met) of the deadlines were met: \(figures)")
    return figures
  }
}

private struct DeadlineMix {
  struct Arrival {
    /// After the beginning.
    var time: Duration
    var submission: Submission
  }

  /// One stage has most of the work, so that its slots are the fleet's capacity.
  private static let steps: [UInt32] = [20, 2, 2]
  private static let jobs = 150

  private let fleet: ChaosFleet

  init(_ fleet: ChaosFleet) { self.fleet = fleet }

  /// Samples a second that the fleet, and the machine it is on, do for good.
  func capacity() async throws -> Double {
    let job = try await fleet.client.submit(fleet.submission(1, samples: 80, steps: Self.steps)).job
    _ = try await fleet.finished(job)
    let ends = try await fleet.client.history(of: job).filter { $0.stage == 0 }.compactMap(\.endedUnixMilliseconds).sorted()
    let (first, last) = (ends[ends.count / 4], ends[ends.count - 1])
    return Double(ends.count - 1 - ends.count / 4) * 1_000 / Double(max(last - first, 1))
  }

  func trace(_ perSecond: Double, seed: UInt64, first: Int) -> [Arrival] {
    var random = SplitMix64(seed: seed)
    let alone = 24 * fleet.shape.stepMilliseconds
    var seconds = 0.0
    return (0..<Self.jobs).map { number in
      let samples = UInt32.random(in: 1...4, using: &random)
      var submission = fleet.submission(first + number, samples: samples, steps: Self.steps)
      let work = alone + Double(samples) * 1_000 / perSecond
      submission.deadlineMilliseconds = UInt64(work * Double.random(in: 2...5, using: &random))
      // Jobs of 2.5 samples.
      seconds += -2.5 / perSecond * log(1 - random.unit())
      return Arrival(time: .seconds(seconds), submission: submission)
    }
  }

  /// Parts of the jobs whose deadlines were met, and that were refused.
  func run(_ trace: [Arrival]) async throws -> (met: Double, refused: Double) {
    let start = ContinuousClock.now
    let ended = try await withThrowingTaskGroup(of: (Submission, JobID?).self) { group in
      for arrival in trace {
        group.addTask {
          try await Task.sleep(until: start + arrival.time)
          do {
            let job = try await fleet.client.submit(arrival.submission).job
            _ = try await fleet.finished(job)
            return (arrival.submission, job)
          } catch let error as ClientError where error.refusal?.code == .tooLate {
            return (arrival.submission, nil)
          }
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    var met = 0
    var late = 0
    for case (let submission, let job?) in ended {
      let status = try await fleet.client.status(of: job)
      try expect(status.state == .done || status.state == .expired, "job \(job) with a deadline is \(status.state)")
      guard status.state == .done, let end = status.finishedUnixMilliseconds, let deadline = status.deadlineUnixMilliseconds else {
        continue
      }
      if end <= deadline { met += 1 } else { late += 1 }
      try await fleet.verify(job, of: submission)
    }
    // A broker that had no turn meanwhile hears of a result before it looks at the time; that is rare.
    try expect(late <= trace.count / 20, "\(late) jobs of \(trace.count) went on beyond their deadlines and were done")
    let refused = ended.count { $0.1 == nil }
    return (Double(met) / Double(trace.count), Double(refused) / Double(trace.count))
  }
}
