import Load
import Testing
import Wire

@testable import Broker

/// Hold and choose, dead letters and retries, histories.
struct HoldTests {
  let pipeline = makePipeline(stages: 3)

  func driver(_ limits: BrokerLimits = BrokerLimits()) -> CoreDriver {
    let driver = CoreDriver(limits)
    for stage in 0..<3 { driver.hello(PeerID(Array("w\(stage)".utf8)), makeHello("w\(stage)", pipeline: pipeline, stage: stage, slots: 8)) }
    return driver
  }

  func held(_ driver: CoreDriver, count: UInt32 = 4, after stage: String = "stage0") throws -> JobID {
    let submission = Submission(runs: [SampleRun(label: "clay", seed: 5, count: count)], holdAfter: stage)
    guard case .accepted(let acceptance) = driver.ask(.submit(submission)) else { throw NoAnswer() }
    return acceptance.job
  }

  @Test func samplesWaitToBeChosenAndHoldNoWorker() throws {
    let driver = driver()
    let job = try held(driver)
    let drafts = driver.takeAssignments("w0")
    for assignment in drafts.dropLast() { driver.finish(assignment, at: "w0", pipeline: pipeline) }
    #expect(driver.status(job)?.state == .running, "one draft is missing")
    #expect(driver.refusal(.fetch(job, sample: 3, stage: "stage0"))?.code == .notReady)
    driver.finish(drafts[3], at: "w0", pipeline: pipeline)
    #expect(driver.takeAssignments("w1").isEmpty)
    let status = try #require(driver.status(job))
    #expect(status.state == .held && status.holdAfter == "stage0" && status.stages[1].held == 4 && status.stages[1].queued == 0)
    #expect(driver.core.leases.count == 0)
    guard case .image(let draft) = driver.ask(.fetch(job, sample: 2, stage: "stage0")) else { throw NoAnswer() }
    #expect(draft.stage == "stage0" && draft.tensor.shape == [3, 1, 1])
    #expect(draft.tensor == driver.result(drafts[2], pipeline: pipeline).tensor)
    #expect(driver.refusal(.fetch(job, sample: 2))?.code == .notReady)
    #expect(driver.refusal(.fetch(job, sample: 2, stage: "nose"))?.code == .invalid)

    driver.restart()
    #expect(driver.status(job)?.state == .held)
    for stage in 0..<3 { driver.hello(PeerID(Array("w\(stage)".utf8)), makeHello("w\(stage)", pipeline: pipeline, stage: stage)) }
    #expect(driver.ask(.release(job, keep: [0, 3])) == .released(Choice(kept: 2, cancelled: 2)))
    #expect(driver.ask(.release(job, keep: [0, 3])) == .released(Choice(kept: 2, cancelled: 2)), "asked again, the same answer")
    #expect(driver.refusal(.release(job, keep: [1]))?.code == .invalid, "what was cancelled cannot go on")
    #expect(driver.refusal(.fetch(job, sample: 1, stage: "stage0"))?.code == .notFound)
    driver.restart()
    for stage in 0..<3 { driver.hello(PeerID(Array("w\(stage)".utf8)), makeHello("w\(stage)", pipeline: pipeline, stage: stage)) }
    driver.drain(["w0", "w1", "w2"], pipeline: pipeline)
    driver.pass(6_000, beating: "w0", "w1", "w2")
    driver.drain(["w0", "w1", "w2"], pipeline: pipeline)
    let end = try #require(driver.status(job))
    #expect(end.state == .done && end.details.map(\.state) == [.done, .cancelled, .cancelled, .done])
    driver.restart()
    #expect(driver.status(job) == end)
  }

  @Test func aReleaseBeforeTheHoldIsReachedStopsTheOthersAtOnce() throws {
    let driver = driver()
    let job = try held(driver)
    let drafts = driver.takeAssignments("w0")
    #expect(driver.ask(.release(job, keep: [1])) == .released(Choice(kept: 1, cancelled: 3)))
    let revoked = driver.takeCommands("w0").compactMap { if case .revoke(let task) = $0 { task.task.sample } else { nil } }
    #expect(revoked == [0, 2, 3])
    driver.finish(drafts[1], at: "w0", pipeline: pipeline)
    driver.drain(["w0", "w1", "w2"], pipeline: pipeline)
    #expect(driver.status(job)?.state == .done)
  }

  @Test func whatMakesNoSenseIsRefused() throws {
    let driver = driver()
    let last = Submission(runs: [SampleRun(label: "clay", seed: 5)], holdAfter: "stage2")
    #expect(driver.refusal(.submit(last))?.reason.contains("nothing comes after") == true)
    #expect(driver.refusal(.submit(Submission(runs: [SampleRun(label: "clay", seed: 5)], holdAfter: "nose")))?.code == .invalid)
    let plain = driver.submit()
    #expect(driver.refusal(.release(plain, keep: [0]))?.code == .invalid)
    let job = try held(driver)
    #expect(driver.refusal(.release(job, keep: []))?.code == .invalid)
    #expect(driver.refusal(.release(job, keep: [4]))?.code == .notFound)
    #expect(driver.refusal(.release(JobID(rawValue: 9), keep: [0]))?.code == .notFound)
    driver.ask(.cancel(job))
    #expect(driver.refusal(.release(job, keep: [0]))?.code == .invalid)
  }

  @Test func aKeyBelongsToItsContents() {
    let driver = driver()
    var submission = Submission(runs: [SampleRun(label: "clay", seed: 5, count: 2)], key: "k", deadlineMilliseconds: 60_000)
    driver.ask(.submit(submission))
    driver.pass(50)
    guard case .accepted(let again) = driver.ask(.submit(submission)), again.duplicate else {
      Issue.record("the same again is a duplicate")
      return
    }
    submission.pipeline = "toy"
    submission.tenant = "default"
    submission.options = [StageOptions(stage: "stage0", steps: 4)]
    guard case .accepted(let spelled) = driver.ask(.submit(submission)), spelled.duplicate else {
      Issue.record("defaults spelled out are the same")
      return
    }
    let changes: [(inout Submission) -> Void] = [
      { $0.runs[0].count = 3 }, { $0.runs[0].seed = 6 }, { $0.runs[0].label = "wood" }, { $0.options[0].steps = 5 },
      { $0.priority = .high }, { $0.deadlineMilliseconds = nil }, { $0.holdAfter = "stage0" },
      { $0.pipeline = "other" }, { $0.runs[0].label = "nonsense" },
    ]
    for change in changes {
      var other = submission
      change(&other)
      let refusal = driver.refusal(.submit(other))
      #expect(refusal?.code == .invalid && refusal?.reason.contains("key 'k'") == true, "\(other)")
    }
    // Another tenant knows nothing of it.
    submission.tenant = "other"
    guard case .accepted(let others) = driver.ask(.submit(submission)), !others.duplicate else {
      Issue.record("two tenants may use the same key")
      return
    }
    driver.restart()
    guard case .accepted(let again) = driver.ask(.submit(submission)) else {
      Issue.record("a key outlives the broker")
      return
    }
    #expect(again.duplicate && again.job == others.job)
  }

  // MARK: Dead letters

  @Test func whatFailedForGoodIsListedAndCanBeTriedAgain() throws {
    var limits = BrokerLimits()
    limits.maxAttempts = 1
    let driver = driver(limits)
    let job = driver.submit(3)
    let good = driver.submit()
    for assignment in driver.takeAssignments("w0") { driver.finish(assignment, at: "w0", pipeline: pipeline) }
    for assignment in driver.takeAssignments("w1") {
      if assignment.task.task.job == job, assignment.task.task.sample != 1 {
        driver.handle(.worker("w1", .failure(assignment.task, reason: "out of memory", permanent: false)))
      } else {
        driver.finish(assignment, at: "w1", pipeline: pipeline)
      }
    }
    driver.drain(["w2"], pipeline: pipeline)
    #expect(driver.status(job)?.state == .failed && driver.status(good)?.state == .done)
    guard case .jobs(let dead) = driver.ask(.dead(limit: 10)) else { throw NoAnswer() }
    #expect(dead.map(\.job) == [job] && dead[0].details.map(\.index) == [0, 2])
    #expect(dead[0].details[0].stage == "stage1" && dead[0].details[0].error?.contains("out of memory") == true)

    driver.restart()
    for stage in 0..<3 { driver.hello(PeerID(Array("w\(stage)".utf8)), makeHello("w\(stage)", pipeline: pipeline, stage: stage)) }
    #expect(driver.refusal(.retry(good, samples: []))?.code == .invalid)
    #expect(driver.ask(.retry(job, samples: [1])) == .retried(samples: 0))
    #expect(driver.refusal(.retry(job, samples: [3]))?.code == .notFound)
    #expect(driver.ask(.retry(job, samples: [2])) == .retried(samples: 1))
    let again = try #require(driver.takeAssignments("w1").first)
    #expect(again.task == TaskRef(TaskID(job: job, sample: 2, stage: 1), attempt: 2), "from the stage it failed in, its input is kept")
    #expect(driver.status(job)?.state == .running)
    #expect(driver.ask(.retry(job, samples: [])) == .retried(samples: 1))
    driver.finish(again, at: "w1", pipeline: pipeline)
    driver.drain(["w0", "w1", "w2"], pipeline: pipeline)
    #expect(driver.status(job)?.state == .done)
    for index in 0..<3 as Range<UInt32> {
      guard case .image(let image) = driver.ask(.fetch(job, sample: index)) else { throw NoAnswer() }
      let options = try #require(driver.status(job)?.options)
      #expect(image.tensor == Oracle.image(label: 0, seed: 5 + UInt64(index), pipeline: pipeline, options: options))
    }
    driver.restart()
    #expect(driver.status(job)?.state == .done)
  }

  @Test func theHistoryTellsWhoDidWhat() throws {
    let driver = driver()
    let job = driver.submit()
    let first = try #require(driver.takeAssignments("w0").first)
    driver.handle(.worker("w0", .progress(TaskProgress(first.task, step: 2), stepMilliseconds: 7)))
    driver.pass(1_000, beating: "w0")
    driver.handle(.worker("w0", .failure(first.task, reason: "bad luck", permanent: false)))
    driver.pass(1_000, beating: "w0")
    let second = try #require(driver.takeAssignments("w0").first)
    guard case .history(let midway) = driver.ask(.history(job, sample: 0)) else { throw NoAnswer() }
    #expect(midway.map(\.state) == [.failed, .running] && midway.map(\.number) == [1, 2] && midway.map(\.worker) == ["w0", "w0"])
    #expect(midway[0].reason == "bad luck" && midway[0].lastStep == 2 && midway[0].stepMilliseconds == 7)
    #expect((midway[0].endedUnixMilliseconds ?? 0) - midway[0].startedUnixMilliseconds == 1_000)
    driver.finish(second, at: "w0", pipeline: pipeline)
    driver.drain(["w1", "w2"], pipeline: pipeline)
    guard case .history(let end) = driver.ask(.history(job, sample: 0)) else { throw NoAnswer() }
    #expect(end.map(\.state) == [.failed, .done, .done, .done] && end.map(\.stage) == [0, 0, 1, 2] && end.last?.lastStep == 4)
    // Of a kept result its digest, and of nothing else.
    let made = (0..<3).map { driver.store.outputs[TensorKey(job: job, sample: 0, stage: $0)]?.digest }
    #expect(midway.allSatisfy { $0.digest == nil } && end[0].digest == nil && end.dropFirst().map(\.digest).last == made[2])
    #expect(Set(end.compactMap(\.digest)).count == 3)
    #expect(driver.ask(.history(job, sample: 1)) == .history([]))
    #expect(driver.refusal(.history(JobID(rawValue: 9), sample: 0))?.code == .notFound)
  }

  @Test func theHistoryOutlivesTheBroker() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, slots: 2))
    let job = driver.submit(2)
    let given = driver.takeAssignments("a")
    for one in given { driver.handle(.worker("a", .checkpoint(one.task, TaskCheckpoint(step: 2, tensors: [checkpointTensor(2)])))) }
    let began = driver.instant.unixMilliseconds
    driver.restart()
    driver.pass(700)
    // One goes on; the other was finished while there was no broker.
    driver.hello(
      "a2",
      makeHello("a", pipeline: pipeline, slots: 2, running: [TaskProgress(given[0].task, step: 3, firstStep: 1, runningMilliseconds: 700)]))
    var late = driver.result(given[1], pipeline: pipeline)
    late.firstStep = 1
    driver.handle(.worker("a2", .result(late)))
    driver.finish(given[0], at: "a2", pipeline: pipeline)
    guard case .history(let attempts) = driver.ask(.history(job, sample: 0)) else { throw NoAnswer() }
    let first = attempts.filter { $0.stage == 0 }
    #expect(first.map(\.worker) == ["a", "a"] && first.map(\.firstStep) == [1, 1] && first.map(\.state) == [.done, .done])
    #expect(first[0].startedUnixMilliseconds == began, "\(first)")
  }

  @Test func whatIsNotChosenIsInMemoryAsOnDisk() throws {
    let driver = driver()
    let job = try held(driver, count: 2)
    let drafts = driver.takeAssignments("w0")
    driver.handle(.worker("w0", .failure(drafts[1].task, reason: "no", permanent: false)))
    #expect(driver.core.jobs[job]?.samples[1].failures == 1)
    #expect(driver.ask(.release(job, keep: [0])) == .released(Choice(kept: 1, cancelled: 1)))
    #expect(driver.core.differences(fromDisk: driver.store.snapshot, at: driver.instant) == [])
  }

  @Test func whoReportsOnWhatWasNotChosenIsSettledAlsoAfterARestart() throws {
    let driver = driver()
    let job = try held(driver, count: 2)
    let drafts = driver.takeAssignments("w0")
    #expect(driver.ask(.release(job, keep: [0])) == .released(Choice(kept: 1, cancelled: 1)))
    driver.restart()
    let running = drafts.map { TaskProgress($0.task, step: 1) }
    driver.hello("w0", makeHello("w0", pipeline: pipeline, slots: 8, running: running))
    _ = driver.takeCommands("w0")
    driver.finish(drafts[1], at: "w0", pipeline: pipeline)
    #expect(driver.takeCommands("w0") == [.settled(drafts[1].task)])
    driver.finish(drafts[0], at: "w0", pipeline: pipeline)
    #expect(driver.takeCommands("w0").contains(.settled(drafts[0].task)), "it was not sent away")
  }

  @Test func aRetryKeepsToItsTenantsLimit() throws {
    var limits = BrokerLimits()
    limits.maxOpenTasksPerTenant = 6
    let driver = driver(limits)
    let job = driver.submit()
    driver.handle(.worker("w0", .failure(try #require(driver.takeAssignments("w0").first).task, reason: "no", permanent: true)))
    #expect(driver.status(job)?.state == .failed)
    let other = driver.submit(2)
    let refusal = driver.refusal(.retry(job, samples: []))
    #expect(refusal?.code == .overloaded && refusal?.reason.contains("of tenant") == true, "\(String(describing: refusal))")
    _ = driver.ask(.cancel(other))
    #expect(driver.ask(.retry(job, samples: [])) == .retried(samples: 1))
  }
}
