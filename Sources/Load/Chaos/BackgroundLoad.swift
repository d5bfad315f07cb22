import Broker
import Client
import Wire
import Worker

/// A closed loop of jobs, each verified, until it is told to stop: what is disturbed in a scenario.
actor BackgroundLoad {
  /// Of a job.
  static let samples: UInt32 = 2

  private let fleet: ChaosFleet
  private let steps: [UInt32]
  private var next: Int
  private var isStopping = false
  private(set) var acknowledged: Set<JobID> = []
  private(set) var images = 0
  /// Steps that a job had and lost again, as far as its watcher saw.
  private(set) var lostSteps = 0
  private(set) var losses: [Loss] = []
  /// Attempts that were not a task's first.
  private(set) var repeats = 0
  private(set) var refusals = 0
  private var unanswered = 0
  /// Jobs beside the loop's.
  private var probes: [(job: JobID, submission: Submission)] = []

  init(_ fleet: ChaosFleet, steps: [UInt32], first: Int = 0) {
    self.fleet = fleet
    self.steps = steps
    next = first
  }

  /// Runs until `stop`, or until a promise is broken.
  func run(concurrency: Int) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<concurrency {
        group.addTask { while await !self.isStopping { try await self.one() } }
      }
      // The first failure ends the others' waiting.
      for try await _ in group {}
    }
    while unanswered > 0 { try await Task.sleep(for: .milliseconds(50)) }
    for probe in probes { try await fleet.verify(probe.job, of: probe.submission) }
  }

  func stop() { isStopping = true }

  // MARK: Jobs from outside of the loop

  /// A job that somebody else submitted and verifies.
  func adopt(_ job: JobID) { acknowledged.insert(job) }

  /// Submits one job more.
  func submitted() async throws -> JobID {
    next += 1
    let submission = fleet.submission(next, samples: 1, steps: steps)
    let job = try await fleet.client.submit(submission).job
    acknowledged.insert(job)
    probes.append((job, submission))
    return job
  }

  /// Submits jobs until one is refused: what a disk has promised already may hold some, and one that was taken in while its record waits gets
  /// its answer later. The refused one is not submitted again: there must be no such job.
  func waitUntilRefused() async throws -> Refusal {
    for _ in 0..<200 {
      let (answers, answer) = AsyncStream.makeStream(of: Refusal?.self)
      unanswered += 1
      Task {
        do { _ = try await submitted() } catch { answer.yield((error as? ClientError)?.refusal) }
        unanswered -= 1
        answer.yield(nil)
      }
      Task {
        try await Task.sleep(for: .seconds(1))
        answer.yield(nil)
      }
      for await refusal in answers {
        guard let refusal else { break }
        refusals += 1
        return refusal
      }
      try await Task.sleep(for: .milliseconds(100))
    }
    throw Broken("200 jobs were accepted that had to be refused")
  }

  /// Submits jobs until one is accepted.
  func waitUntilAccepted() async throws {
    for _ in 0..<50 {
      do {
        _ = try await submitted()
        return
      } catch let error as ClientError {
        guard error.refusal?.retryAfterMilliseconds != nil else { throw error }
        try await Task.sleep(for: .milliseconds(200))
      }
    }
    throw Broken("jobs are refused, though there is nothing left to refuse them for")
  }

  private func one() async throws {
    next += 1
    let submission = fleet.submission(next, samples: Self.samples, steps: steps)
    let acceptance = try await patiently { try await fleet.client.submit(submission) }
    try expect(acknowledged.insert(acceptance.job).inserted, "job \(acceptance.job) was given to two submissions")
    // A key sent twice is one job.
    let again = try await patiently { try await fleet.client.submit(submission) }
    try expect(again.job == acceptance.job && again.duplicate, "key \(submission.key) has two jobs, \(acceptance.job) and \(again.job)")
    async let watching: Void = watch(acceptance.job)
    images += try await fleet.verify(acceptance.job, of: submission)
    try await watching
    let history = try await patiently { try await fleet.client.history(of: acceptance.job) }
    try audit(history, of: acceptance.job, samples: submission.runs.reduce(0) { $0 + $1.count })
  }

  /// Each task was finished exactly once, whoever worked on it; of a sample that began anew, since then.
  private func audit(_ attempts: [Attempt], of job: JobID, samples: UInt32) throws {
    let tasks = Dictionary(grouping: attempts) { UInt64($0.sample) << 32 | UInt64($0.stage) }
    try expect(tasks.count == Int(samples) * steps.count, "job \(job) has a history of \(tasks.count) tasks")
    for attempts in tasks.values {
      let life = AttemptNumber.none(asIn: attempts.map(\.number).max() ?? 0)
      let inOrder = attempts.filter { $0.number > life }.sorted { $0.number < $1.number }
      let done = inOrder.count { $0.state == .done }
      try expect(done == 1, "sample \(inOrder[0].sample) of job \(job) was finished \(done) times at stage \(inOrder[0].stage)")
      repeats += attempts.count - 1
      for (one, next) in zip(inOrder, inOrder.dropFirst()) where one.state != .done {
        guard one.lastStep > next.firstStep else { continue }
        losses.append(
          Loss(
            worker: one.worker, stage: fleet.stages[Int(one.stage)], steps: Int(one.lastStep - next.firstStep),
            endedUnixMilliseconds: one.endedUnixMilliseconds ?? 0,
            what: "sample \(one.sample) of job \(job), stage \(one.stage): attempt \(one.number) of \(one.worker) ended at step "
              + "\(one.lastStep) (\(one.reason ?? "no reason")), the next one began with \(next.firstStep)"))
      }
    }
  }

  private func watch(_ job: JobID) async throws {
    var before: UInt64 = 0
    for try await status in fleet.client.watch(job) {
      let steps = status.stages.reduce(0) { $0 + $1.stepsDone }
      if steps < before { lostSteps += Int(before - steps) }
      before = steps
    }
  }
}

/// Steps that were done, as far as the broker knew, when an attempt ended, and that the next one had to do again.
struct Loss: Sendable {
  var worker, stage: String
  var steps: Int
  var endedUnixMilliseconds: UInt64
  var what: String
}

/// What a load saw.
struct LoadOutcome: Sendable {
  var images = 0
  /// See `BackgroundLoad`.
  var lostSteps = 0, repeats = 0, refusals = 0
  var losses: [Loss] = []
}

extension ChaosFleet {
  /// Mistreats the fleet while it works. Afterwards every acknowledged job is done, its images are right, and there is no other.
  func underLoad(
    steps: [UInt32], concurrency: Int, _ mistreat: @escaping @Sendable () async throws -> Void
  ) async throws -> (images: Int, lostSteps: Int) {
    let report = try await loaded(steps: steps, concurrency: concurrency) { _ in try await mistreat() }
    return (report.images, report.lostSteps)
  }

  func loaded(
    steps: [UInt32], concurrency: Int, _ mistreat: @escaping @Sendable (BackgroundLoad) async throws -> Void
  ) async throws -> LoadOutcome {
    try await rehearse(samples: BackgroundLoad.samples, steps: steps)
    let load = BackgroundLoad(self, steps: steps)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await load.run(concurrency: concurrency) }
      group.addTask {
        // Whatever happens, the load ends.
        do { try await mistreat(load) } catch {
          await load.stop()
          throw error
        }
        await load.stop()
      }
      for try await _ in group {}
    }
    try await expectJobs(load.acknowledged)
    return await LoadOutcome(
      images: load.images, lostSteps: load.lostSteps, repeats: load.repeats,
      refusals: load.refusals,
      losses: load.losses)
  }
}
