import Client
import Glibc
import Wire
import Worker

/// Among honest workers is one whose results have a wrong bit. It is frozen over its tasks until others have done them; then it sends its own
/// results. They are dropped, a third worker tells who is wrong, and from then on the liar gets no work, whether the broker restarts or not;
/// only a new process of its name does.
func liar(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let shape = ChaosFleet.Shape(perStage: 2, deadMilliseconds: 600)
  return try await ChaosFleet.with(settings, shape) { fleet in
    // Its second step takes long enough to be frozen in.
    let pause = Duration.seconds(3)
    let liar = try await fleet.startLiar(.always, stage: "base32", name: "liar", stepMilliseconds: pause / .milliseconds(1))
    do {
      let figures = try await LiarHunt(fleet, liar).run(pause)
      await liar.end()
      let honest = try await fleet.startLiar(.never, stage: "base32", name: "liar", stepMilliseconds: 5)
      do { try await LiarHunt(fleet, honest).newProcessIsTrusted() } catch {
        await honest.end()
        throw error
      }
      await honest.end()
      return figures
    } catch {
      await liar.end()
      throw error
    }
  }
}

private struct LiarHunt {
  let fleet: ChaosFleet
  let liar: Companion

  init(_ fleet: ChaosFleet, _ liar: Companion) {
    self.fleet = fleet
    self.liar = liar
  }

  func run(_ pause: Duration) async throws -> [String: Double] {
    _ = try await state("came") { _ in true }
    // More samples than the honest workers have slots.
    let submission = fleet.submission(1, samples: 12, steps: [2, 3, 2])
    let job = try await fleet.client.submit(submission).job
    let held = try await tasksBegun(in: job)
    await liar.signal(SIGSTOP)
    try await fleet.verify(job, of: submission)
    try await Task.sleep(for: pause)
    let before = try await fleet.client.workers().first { $0.name == "liar" }
    try expect(before?.quarantine == nil, "the liar is thought guilty before it lied")
    await liar.signal(SIGCONT)
    let caught = try await state("is caught") { $0.quarantine != nil }
    // The images that were delivered are still those.
    try await fleet.verify(job, of: submission)
    try await expectNoWork(jobs: 2..<5)
    await fleet.signal("broker", SIGKILL)
    _ = try await state("is back, and still caught") { $0.quarantine == caught.quarantine }
    try await expectNoWork(jobs: 5..<8)
    let others = try await fleet.client.workers().filter { $0.quarantine != nil && $0.name != "liar" }
    try expect(others.isEmpty, "honest workers are in quarantine, too: \(others.map(\.name))")
    return ["lies": Double(held)]
  }

  func newProcessIsTrusted() async throws {
    _ = try await state("is a new process") { $0.quarantine == nil && $0.silentMilliseconds < 1_000 }
    let submission = fleet.submission(100, samples: 40, steps: [20, 3, 2])
    let job = try await fleet.client.submit(submission).job
    try await fleet.verify(job, of: submission)
    let isTrusted = try await fleet.client.history(of: job).contains { $0.worker == "liar" }
    try expect(isTrusted, "a new process of the liar's name gets no work")
  }

  /// How many tasks the liar has, once it has taken a step of one: until then it may not have heard of them.
  private func tasksBegun(in job: JobID) async throws -> Int {
    while true {
      let running = try await fleet.client.history(of: job).filter { $0.worker == "liar" && $0.state == .running }
      if running.contains(where: { $0.lastStep > 0 }) { return running.count }
      let isOver = try await fleet.client.status(of: job).state.isFinal
      try expect(!isOver, "job \(job) ended without the liar")
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  /// What the broker says of the worker, once it fits.
  private func state(_ what: String, _ fits: (WorkerStatus) -> Bool) async throws -> WorkerStatus {
    let end = ContinuousClock.now + .seconds(60)
    while .now < end {
      if let worker = try await fleet.client.workers().first(where: { $0.name == "liar" && fits($0) }) { return worker }
      try await Task.sleep(for: .milliseconds(20))
    }
    throw Broken("the liar's worker was expected to be one that \(what), and after a minute is none")
  }

  private func expectNoWork(jobs: Range<Int>) async throws {
    for number in jobs {
      let submission = fleet.submission(number, samples: 12, steps: [4, 3, 2])
      let job = try await fleet.client.submit(submission).job
      try await fleet.verify(job, of: submission)
      let attempts = try await fleet.client.history(of: job).filter { $0.worker == "liar" }
      try expect(attempts.isEmpty, "the liar is in quarantine and was given \(attempts.count) tasks")
    }
  }
}
