import Digests
import Load
import Testing
import Wire

@testable import Broker

/// The ordinary life of jobs.
struct CoreTests {
  let pipeline = makePipeline()

  /// A driver with a worker a stage, "w0", "w1", …
  func driver(slots: UInt32 = 4, limits: BrokerLimits = BrokerLimits(), pipeline: PipelineInfo? = nil) -> CoreDriver {
    let driver = CoreDriver(limits)
    let pipeline = pipeline ?? self.pipeline
    for stage in pipeline.stages.indices {
      driver.hello(PeerID(Array("w\(stage)".utf8)), makeHello("w\(stage)", pipeline: pipeline, stage: stage, slots: slots))
    }
    return driver
  }

  @Test func jobRunsThroughItsStages() throws {
    let driver = driver()
    let job = driver.submit(5, label: "wood", seed: .max)
    #expect(driver.status(job)?.state == .running)
    driver.drain(["w0", "w1"], pipeline: pipeline)
    let status = try #require(driver.status(job))
    #expect(status.state == .done)
    #expect(status.stages.map(\.done) == [5, 5])
    #expect(status.stages.map(\.stepsDone) == [20, 20])
    #expect(status.details.map(\.seed) == [.max, 0, 1, 2, 3])
    #expect(status.details.allSatisfy { $0.label == 1 && $0.stage == nil && $0.state == .done })
    #expect(status.options.map(\.aug) == [0, 10])
    for index in 0..<5 as Range<UInt32> {
      guard case .image(let image) = driver.ask(.fetch(job, sample: index)) else {
        Issue.record("no image \(index)")
        continue
      }
      #expect(image.tensor == Oracle.image(label: 1, seed: .max &+ UInt64(index), pipeline: pipeline, options: status.options))
    }
    #expect(driver.store.outputs.count == 5, "outputs of earlier stages are no longer needed")
    #expect(driver.refusal(.fetch(job, sample: 5))?.code == .notFound)
  }

  @Test func everythingIsSettledAndForgottenByTheWorker() {
    let driver = driver()
    let job = driver.submit()
    let first = driver.takeAssignments("w0")
    driver.finish(first[0], at: "w0", pipeline: pipeline)
    #expect(driver.takeCommands("w0") == [.settled(TaskRef(TaskID(job: job, sample: 0, stage: 0), attempt: 1))])
    let second = driver.takeAssignments("w1")
    #expect(second.first?.lowRes?.digest == driver.result(first[0], pipeline: pipeline).digest)
  }

  @Test func creditIsNeverExceeded() {
    let driver = CoreDriver()
    // The second stage takes 12 bytes of input a task: room for two, though there are five slots.
    driver.hello("w0", makeHello("w0", pipeline: pipeline, slots: 3))
    driver.hello("w1", makeHello("w1", pipeline: pipeline, stage: 1, slots: 5, bytes: 30))
    _ = driver.submit(10)
    var waiting = driver.takeAssignments("w0")
    #expect(waiting.count == 3)
    while !waiting.isEmpty {
      for assignment in waiting { driver.finish(assignment, at: "w0", pipeline: pipeline) }
      waiting = driver.takeAssignments("w0")
      #expect(waiting.count <= 3)
    }
    var second = driver.takeAssignments("w1")
    #expect(second.count == 2)
    driver.finish(second.removeLast(), at: "w1", pipeline: pipeline)
    #expect(driver.takeAssignments("w1").count == 1)
  }

  @Test func workGoesToTheLeastBusyAndToTheOldestJobFirst() {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, slots: 4))
    driver.hello("b", makeHello("b", pipeline: pipeline, slots: 2))
    let first = driver.submit(3)
    let second = driver.submit(9)
    #expect(driver.takeAssignments("a").map(\.task.task.job) == [first, first, second, second])
    let ofB = driver.takeAssignments("b")
    #expect(ofB.map(\.task.task.job) == [first, second])
    driver.hello("c", makeHello("c", pipeline: pipeline))
    driver.finish(ofB[0], at: "b", pipeline: pipeline)
    #expect(driver.takeAssignments("c").map(\.task.task.sample) == [3])
    #expect(driver.takeAssignments("b").map(\.task.task.sample) == [4])
  }

  @Test func submittingTwiceUnderOneKeyMakesOneJob() {
    let driver = driver()
    let submission = Submission(runs: [SampleRun(label: "0", seed: 1, count: 2)], key: "k")
    guard case .accepted(let first) = driver.ask(.submit(submission)), case .accepted(let second) = driver.ask(.submit(submission)) else {
      Issue.record("not accepted")
      return
    }
    #expect(!first.duplicate && second.duplicate && first.job == second.job && second.samples == 2)
    driver.restart()
    guard case .accepted(let third) = driver.ask(.submit(submission)) else {
      Issue.record("not accepted after a restart")
      return
    }
    #expect(third.duplicate && third.job == first.job)
  }

  @Test func limitsRefuseWithAReasonAndARetryAfter() {
    var limits = BrokerLimits()
    limits.maxOpenTasks = 8
    limits.maxSamplesPerJob = 6
    let driver = driver(limits: limits)
    func ask(_ count: UInt32) -> ClientRequest { .submit(Submission(runs: [SampleRun(label: "clay", seed: 1, count: count)])) }
    #expect(driver.refusal(ask(7))?.code == .invalid)
    #expect(driver.refusal(ask(5))?.code == .invalid, "can never fit")
    _ = driver.submit(3)
    let refusal = driver.refusal(ask(2))
    #expect(refusal?.code == .overloaded && refusal?.retryAfterMilliseconds == 1_000)
    _ = driver.submit(1)
    driver.drain(["w0", "w1"], pipeline: pipeline)
    _ = driver.submit(4)
  }

  @Test func submissionsAreChecked() {
    let driver = driver()
    func refused(
      label: String = "clay", count: UInt32 = 1, _ options: StageOptions..., truncated: Bool = false, pipeline: String = "",
      key: String = ""
    ) -> String? {
      let submission = Submission(
        pipeline: pipeline, runs: [SampleRun(label: label, seed: 1, count: count)], options: options, truncated: truncated, key: key)
      return driver.refusal(.submit(submission))?.reason
    }
    #expect(refused(label: "stone")?.contains("no label 'stone'; labels are clay, wood, 7, or 0…2") == true)
    #expect(refused(label: "3") != nil)
    #expect(refused(count: 0) != nil)
    #expect(refused(StageOptions(stage: "nose"))?.contains("its stages are stage0, stage1") == true)
    #expect(refused(StageOptions(stage: "stage0", steps: 0)) != nil)
    #expect(refused(StageOptions(stage: "stage0", steps: 101)) != nil)
    #expect(refused(StageOptions(stage: "stage0"), StageOptions(stage: "stage0")) != nil)
    #expect(refused(StageOptions(stage: "stage0", sampler: "magic")) != nil)
    #expect(refused(StageOptions(stage: "stage0", eta: .nan)) != nil)
    #expect(refused(StageOptions(stage: "stage0", aug: 5)) != nil)
    #expect(refused(StageOptions(stage: "stage1", aug: 101)) != nil)
    #expect(refused(pipeline: "other")?.contains("known are toy") == true)
    #expect(refused(key: String(repeating: "k", count: 201)) != nil)
    #expect(driver.refusal(.submit(Submission(runs: [])))?.code == .invalid)
    #expect(driver.store.jobs.isEmpty)

    let job = driver.submit(label: "7", options: [StageOptions(stage: "stage1", steps: 9, sampler: "ddim", eta: 0.5, aug: 3)])
    let status = driver.status(job)
    #expect(status?.details.first?.label == 2, "a name comes before a number")
    #expect(
      status?.options == [
        StageOptions(stage: "stage0", steps: 4, sampler: "ddpm", eta: 0, aug: 0),
        StageOptions(stage: "stage1", steps: 9, sampler: "ddim", eta: 0.5, aug: 3, guidance: 1.5),
      ])
  }

  @Test func truncatedJobsEndTheFirstStageEarly() {
    let driver = driver()
    guard case .accepted = driver.ask(.submit(Submission(runs: [SampleRun(label: "0", seed: 1)], truncated: true))) else {
      Issue.record("not accepted")
      return
    }
    let assignment = driver.takeAssignments("w0")
    #expect(assignment.first?.truncated == true)
    driver.finish(assignment[0], at: "w0", pipeline: pipeline)
    #expect(driver.takeAssignments("w1").first?.lowRes?.name == "z_s")

    let single = self.driver(pipeline: makePipeline(stages: 1))
    #expect(single.refusal(.submit(Submission(runs: [SampleRun(label: "0", seed: 1)], truncated: true)))?.code == .invalid)
  }

  @Test func withoutPipelinesABrokerIsNotReady() {
    let driver = CoreDriver()
    let refusal = driver.refusal(.submit(Submission(runs: [SampleRun(label: "0", seed: 1)])))
    #expect(refusal?.code == .notReady && refusal?.retryAfterMilliseconds != nil)
  }

  @Test func digestsUnderOneNameAreNeverMixed() throws {
    let driver = CoreDriver()
    let newer = makePipeline(version: 2)
    driver.hello("old", makeHello("old", pipeline: pipeline))
    let oldJob = driver.submit()
    driver.hello("new", makeHello("new", pipeline: newer))
    #expect(driver.refusal(.submit(Submission(pipeline: "toy", runs: [SampleRun(label: "0", seed: 1)])))?.code == .invalid)
    let digest = hex(newer.digest)
    let newJob = driver.submit(pipeline: digest)
    #expect(driver.status(newJob)?.digest == newer.digest)
    #expect(driver.takeAssignments("old").map(\.task.task.job) == [oldJob])
    let assignment = try #require(driver.takeAssignments("new").first)
    #expect(assignment.task.task.job == newJob)
    // The name is clear again when one of the two has no workers.
    driver.handle(.worker("old", .goodbye(reason: "")))
    #expect(driver.status(driver.submit(pipeline: "toy"))?.digest == newer.digest)
    // A worker of one that reports on a task of the other is turned away.
    driver.hello("old", makeHello("old", boot: 2, pipeline: pipeline))
    driver.finish(assignment, at: "old", pipeline: pipeline)
    #expect(driver.takeCommands("old").contains { if case .disconnect = $0 { true } else { false } })
    #expect(driver.status(newJob)?.stages.first?.done == 0)
  }

  @Test func listsAndWorkers() {
    let driver = driver()
    let jobs = (0..<5).map { _ in driver.submit() }
    guard case .jobs(let newest) = driver.ask(.status(nil, limit: 3)) else {
      Issue.record("no list")
      return
    }
    #expect(newest.map(\.job) == Array(jobs.reversed().prefix(3)))
    #expect(newest.allSatisfy { $0.details.isEmpty })
    driver.handle(
      .worker("w0", .progress(TaskProgress(TaskRef(TaskID(job: jobs[0], sample: 0, stage: 0), attempt: 1), step: 3), stepMilliseconds: 7)))
    driver.pass(300)
    guard case .workers(let workers) = driver.ask(.workers) else {
      Issue.record("no workers")
      return
    }
    #expect(workers.map(\.name) == ["w0", "w1"])
    #expect(workers.map(\.running) == [4, 0])
    #expect(workers[0].stepMilliseconds == 7)
    #expect(workers[0].silentMilliseconds == 300)
    driver.core.listening(onWorkerPort: 99)
    #expect(driver.ask(.locate) == .located(workerPort: 99))
    #expect(driver.refusal(.status(JobID(rawValue: 1), limit: 0))?.code == .notFound)
  }

  @Test func finishedJobsAreForgottenOldestFirst() {
    var limits = BrokerLimits()
    limits.keptSamples = 5
    let driver = driver(limits: limits)
    let jobs = (0..<4).map { _ in
      let job = driver.submit(2)
      driver.drain(["w0", "w1"], pipeline: pipeline)
      return job
    }
    #expect(jobs.map { driver.status($0) != nil } == [false, false, true, true])
    #expect(driver.store.jobs.count == 2 && driver.store.outputs.count == 4)
    let large = driver.submit(9)
    driver.drain(["w0", "w1"], pipeline: pipeline)
    #expect(driver.status(large)?.state == .done, "the newest is kept, however large")
    #expect(driver.store.jobs.count == 1)
  }
  @Test func finishedJobsAreForgottenByAge() {
    var limits = BrokerLimits()
    limits.keptMilliseconds = 60_000
    let driver = driver(limits: limits)
    let finished = driver.submit()
    driver.drain(["w0", "w1"], pipeline: pipeline)
    driver.pass(59_000, beating: "w0", "w1")
    #expect(driver.status(finished)?.state == .done)
    let open = driver.submit()
    driver.pass(2_000, beating: "w0", "w1")
    #expect(driver.status(finished) == nil)
    driver.pass(120_000, beating: "w0", "w1")
    #expect(driver.status(open) != nil, "a job that is not finished is never forgotten")
  }

  @Test func keysAreATenantsOwnAlsoWithoutAnAccessList() {
    let driver = CoreDriver()
    driver.hello("w0", makeHello("w0", pipeline: makePipeline()))
    func submit(_ tenant: String, seed: UInt64) -> ClientReply? {
      driver.ask(.submit(Submission(runs: [SampleRun(label: "clay", seed: seed)], key: "same", tenant: tenant)))
    }
    guard case .accepted(let hers)? = submit("alice", seed: 1), case .accepted(let his)? = submit("bob", seed: 2) else {
      Issue.record("a key that another tenant uses was refused")
      return
    }
    #expect(hers.job != his.job && !his.duplicate)
    driver.restart()
    #expect(submit("alice", seed: 1) == .accepted(Acceptance(job: hers.job, duplicate: true, samples: 1)))
    #expect(submit("bob", seed: 2) == .accepted(Acceptance(job: his.job, duplicate: true, samples: 1)))
  }
}
