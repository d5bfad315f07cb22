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
      try await group.waitForAll()
    }
  }

  func stop() { isStopping = true }

  private func one() async throws {
    next += 1
    let submission = fleet.submission(next, samples: Self.samples, steps: steps)
    let acceptance = try await fleet.client.submit(submission)
    try expect(acknowledged.insert(acceptance.job).inserted, "job \(acceptance.job) was given to two submissions")
    // A key sent twice is one job.
    let again = try await fleet.client.submit(submission)
    try expect(again.job == acceptance.job && again.duplicate, "key \(submission.key) has two jobs, \(acceptance.job) and \(again.job)")
    let watching = Task { try await watch(acceptance.job) }
    images += try await fleet.verify(acceptance.job, of: submission)
    try await watching.value
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

extension ChaosFleet {
  /// Mistreats the fleet while it works. Afterwards every acknowledged job is done, its images are right, and there is no other.
  func underLoad(
    steps: [UInt32], concurrency: Int, _ mistreat: @escaping @Sendable () async throws -> Void
  ) async throws -> (images: Int, lostSteps: Int) {
    try await rehearse(samples: BackgroundLoad.samples, steps: steps)
    let load = BackgroundLoad(self, steps: steps)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await load.run(concurrency: concurrency) }
      group.addTask {
        // Whatever happens, the load ends.
        do { try await mistreat() } catch {
          await load.stop()
          throw error
        }
        await load.stop()
      }
      try await group.waitForAll()
    }
    try await expectJobs(load.acknowledged)
    return await (load.images, load.lostSteps)
  }
}
