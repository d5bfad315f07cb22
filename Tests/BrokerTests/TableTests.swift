import SeededRandom
import Testing
import Wire

@testable import Broker

/// However peers behave, what the core remembers of them is bounded, and goes when they and their jobs are gone. The driver has every table
/// compared with its bound after every event.
struct TableTests {
  /// What outlives all jobs and workers, within its bound.
  static let lasting: Set = ["pipelines", "stages with queues", "debts", "pass times", "makers", "quarantine", "refusals"]

  var limits: BrokerLimits {
    var limits = BrokerLimits()
    limits.maxPipelines = 4
    limits.maxOpenTasks = 200
    limits.maxSamplesPerJob = 20
    limits.keptSamples = 60
    limits.keptMilliseconds = 60_000
    limits.maxWorkers = 20
    limits.maxWatches = 30
    limits.maxWatchesPerClient = 10
    limits.maxBlamedTasks = 10
    limits.maxQuarantined = 2
    return limits
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>) func ofAHostileCrowdNothingIsLeft(seed: UInt64) {
    let driver = CoreDriver(limits)
    var crowd = Crowd(seed: seed)
    for _ in 0..<1_500 { crowd.act(on: driver) }
    let full = driver.core.tables
    for name in ["watches", "queues", "workers", "samples of finished jobs", "deadlines", "back-off", "blame", "makers"] {
      #expect(full.contains { $0.name == name } && crowd.most[name, default: 0] > 0, "seed \(seed) does not use the table of \(name)")
    }
    crowd.leave(driver)
    // Longer than lost workers are remembered.
    driver.pass(700_000)
    for table in driver.core.tables where !Self.lasting.contains(table.name) { #expect(table.count == 0, "seed \(seed): \(table)") }
    #expect(driver.core.footprint == (0, 0, 0), "seed \(seed)")
    #expect(driver.core.jobs.count == 0 && driver.core.jobs.openTasks == 0, "seed \(seed)")
  }

  @Test func whatNobodyTakesDoesNotPileUp() {
    let driver = CoreDriver(limits)
    driver.hello("w", makeHello("w", pipeline: makePipeline()))
    driver.handle(.worker("w", .goodbye(reason: "")))
    let day: UInt64 = 86_400_000
    for _ in 0..<500 {
      let reply = driver.ask(.submit(Submission(runs: [SampleRun(label: "clay", seed: 1, count: 20)], deadlineMilliseconds: 365 * day)))
      guard case .accepted(let acceptance) = reply else {
        Issue.record("not accepted: \(String(describing: reply))")
        return
      }
      driver.ask(.cancel(acceptance.job))
    }
    let counts = Dictionary(uniqueKeysWithValues: driver.core.tables.map { ($0.name, $0.count) })
    #expect(counts["queues"] == 0 && counts["deadlines"] == 0)
    #expect(driver.core.jobs.count == 3, "of finished jobs the samples that are kept")
  }

  /// It takes its task up again and again, and loses it.
  @Test func whoComesAndGoesLeavesOneEntry() throws {
    let driver = CoreDriver(limits)
    let pipeline = makePipeline()
    driver.hello("w", makeHello("w", pipeline: pipeline))
    _ = driver.submit()
    let task = try #require(driver.takeAssignments("w").first).task
    for _ in 0..<500 {
      driver.handle(.worker("w", .goodbye(reason: "")))
      driver.hello("w", makeHello("w", pipeline: pipeline, running: [TaskProgress(task, step: 0)]))
    }
    #expect(driver.core.queues.count <= StageQueues.bound(waiting: 1))
    #expect(driver.core.blame.count == 0, "who leaves in order is not to blame")
  }

  @Test func aWorkersCreditIsBounded() {
    var limits = limits
    let pipeline = makePipeline()
    limits.maxBytesPerWorker = 30
    let driver = CoreDriver(limits)
    driver.hello("a", makeHello("a", pipeline: pipeline, slots: 20))
    _ = driver.submit(20)
    for assignment in driver.takeAssignments("a") { driver.finish(assignment, at: "a", pipeline: pipeline) }
    // Inputs of 12 bytes.
    driver.hello("b", makeHello("b", pipeline: pipeline, stage: 1, slots: 20, bytes: .max))
    #expect(driver.takeAssignments("b").count == 2)
  }

  @Test func aLostWorkersTasksAreRememberedForAWhile() {
    func worker(_ number: Int) -> WorkerIdentity { WorkerIdentity(name: "w\(number)", boot: 1) }
    func tasks(_ count: UInt32) -> [TaskRef] {
      (0..<count).map { TaskRef(TaskID(job: JobID(rawValue: 1), sample: $0, stage: 0), attempt: 1) }
    }
    var blame = Blame(maxTasks: 10)
    for number in 0..<5 { blame.note(worker(number), tasks(3), at: Int64(number)) }
    #expect(blame.count == 9, "the oldest make room")
    #expect(blame.take(worker(0)).isEmpty && blame.take(worker(1)).isEmpty && blame.take(worker(2)) == tasks(3))
    #expect(blame.take(worker(2)).isEmpty && blame.count == 6)
    // A second loss replaces the first.
    blame.note(worker(3), tasks(1), at: 5)
    #expect(blame.count == 4)
    blame.note(worker(9), tasks(11), at: 6)
    #expect(blame.count == 0, "more than there is room for")
    blame.note(worker(4), tasks(2), at: 10)
    blame.forgetOld(at: 600_009)
    #expect(blame.count == 2)
    blame.forgetOld(at: 600_010)
    #expect(blame.count == 0)
  }

  @Test func theOldestInQuarantineMakesRoom() {
    var quarantine = Quarantine()
    for number in 0..<3 as Range<UInt64> { quarantine.insert(QuarantineRecord(name: "w", boot: number, reason: "")) }
    quarantine.insert(QuarantineRecord(name: "w", boot: 0, reason: "again"))
    #expect(quarantine.pardonOldest(beyond: 2) == WorkerIdentity(name: "w", boot: 0))
    #expect(quarantine.pardonOldest(beyond: 2) == nil)
    #expect(quarantine[WorkerIdentity(name: "w", boot: 0)] == nil && quarantine[WorkerIdentity(name: "w", boot: 1)] != nil)
  }
}

/// Peers that say whatever comes to their minds, most of it well-formed.
private struct Crowd {
  private var random: SplitMix64
  private var pipelines: [PeerID: PipelineInfo] = [:]
  private var jobs: [JobID] = []
  private var assignments: [(peer: PeerID, assignment: Assignment)] = []
  /// The fullest that each table was.
  private(set) var most: [String: Int] = [:]

  init(seed: UInt64) { random = SplitMix64(seed: seed) }

  private mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &random) }
  private mutating func peer(_ kind: String) -> PeerID { PeerID(Array("\(kind)\(below(25))".utf8)) }
  private mutating func job() -> JobID { jobs.isEmpty ? JobID(rawValue: 5) : jobs[max(0, jobs.count - 1 - below(40))] }

  mutating func act(on driver: CoreDriver) {
    switch below(30) {
    case 0...2: hello(driver)
    case 3...5: submit(driver)
    case 6: driver.ask(.cancel(job()), from: peer("c"))
    case 7, 8: driver.ask(.watch(job()), from: peer("c"), number: UInt64(below(50)))
    case 9: driver.handle(.clientGone(peer("c")))
    case 10: driver.handle(.workerGone(peer("w"), reason: "cut"))
    case 11: driver.handle(.worker(peer("w"), .goodbye(reason: "bye")))
    case 12: driver.ask(.retry(job(), samples: below(2) == 0 ? [] : [UInt32(below(20))]))
    case 13: driver.ask(.release(job(), keep: (0..<below(4)).map { UInt32($0) }))
    case 14: driver.ask(.history(job(), sample: 0))
    case 15: driver.ask(.fetch(job(), sample: UInt32(below(20))))
    case 16: driver.ask(.status(nil, limit: 0))
    case 17: driver.ask(.dead(limit: 5))
    case 18: driver.pass(Int64(below(3_000)))
    case 19: driver.pass(Int64(below(100)))
    default: work(driver)
    }
    // The newest are most of what is asked after.
    jobs.removeFirst(max(0, jobs.count - 200))
    assignments += driver.commands.compactMap { peer, command in
      if case .assign(let assignment) = command { (peer, assignment) } else { nil }
    }
    assignments.removeFirst(max(0, assignments.count - 100))
    driver.commands = []
    driver.replies = []
    driver.logs = []
    driver.records = []
    for table in driver.core.tables { most[table.name] = max(most[table.name] ?? 0, table.count) }
  }

  private mutating func hello(_ driver: CoreDriver) {
    let peer = peer("w")
    let pipeline = makePipeline("p\(below(3))", version: UInt8(below(3)), stages: 1 + below(3))
    var running = (0..<below(3)).compactMap { _ in assignments.randomElement(using: &random) }.map {
      TaskProgress($0.assignment.task, step: UInt32(below(5)))
    }
    if below(4) == 0 { running.append(TaskProgress(TaskRef(TaskID(job: job(), sample: 0, stage: 0), attempt: 1), step: 0)) }
    driver.hello(
      peer,
      makeHello(
        "n\(below(30))", boot: UInt64(below(3)), pipeline: pipeline, stage: below(pipeline.stages.count), numerics: "class-\(below(3))",
        slots: UInt32(below(5)), bytes: UInt64(below(2)) << 20, running: running))
    pipelines[peer] = pipeline
  }

  private mutating func submit(_ driver: CoreDriver) {
    let deadlines: [UInt64?] = [nil, 1, 5_000, 3_600_000, 1 << 40, .max]
    let submission = Submission(
      pipeline: below(3) == 0 ? "" : "p\(below(3))",
      runs: [SampleRun(label: "clay", seed: UInt64(below(9)), count: UInt32(below(21)))], key: below(2) == 0 ? "" : "k\(below(60))",
      tenant: "t\(below(20))", priority: Priority.allCases[below(3)], deadlineMilliseconds: deadlines[below(deadlines.count)],
      holdAfter: below(6) == 0 ? "stage0" : "")
    if case .accepted(let acceptance) = driver.ask(.submit(submission), from: peer("c")) { jobs.append(acceptance.job) }
  }

  private mutating func work(_ driver: CoreDriver) {
    guard !assignments.isEmpty else { return }
    let index = below(assignments.count)
    let (peer, assignment) = assignments[index]
    guard let pipeline = pipelines[peer] else { return }
    if below(2) == 0 { assignments.remove(at: index) }
    let stage = Int(assignment.task.task.stage)
    switch below(8) {
    case 0: driver.handle(.worker(peer, .failure(assignment.task, reason: "no", permanent: below(9) == 0)))
    case 1: driver.handle(.worker(peer, .progress(TaskProgress(assignment.task, step: UInt32(below(5))), stepMilliseconds: 20)))
    case 2:
      let checkpoint = TaskCheckpoint(step: UInt32(below(5)), tensors: [checkpointTensor(UInt64(below(9)))])
      driver.handle(.worker(peer, .checkpoint(assignment.task, checkpoint)))
    case 3: driver.handle(.worker(peer, .beat(running: [TaskProgress(assignment.task, step: 1)])))
    case 4 where stage < pipeline.stages.count:
      let output = Oracle.output(UInt64(below(4)), resolution: pipeline.stages[stage].resolution)
      driver.handle(
        .worker(peer, .result(TaskResult(task: assignment.task, digest: output.digest, computeMilliseconds: 1, tensor: output))))
    case 5...7 where stage < pipeline.stages.count: driver.finish(assignment, at: peer, pipeline: pipeline)
    default: driver.handle(.worker(peer, .beat(running: [])))
    }
  }

  /// Everyone goes, and every job ends.
  mutating func leave(_ driver: CoreDriver) {
    for number in 0..<25 {
      driver.handle(.workerGone(PeerID(Array("w\(number)".utf8)), reason: "gone"))
      driver.handle(.clientGone(PeerID(Array("c\(number)".utf8))))
    }
    for job in driver.core.jobs.all where job.ending == nil { driver.ask(.cancel(job.id)) }
  }
}
