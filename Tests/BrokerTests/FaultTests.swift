import Load
import Testing
import Wire

@testable import Broker

/// Workers that die, hang, lie and come back; brokers that restart.
struct FaultTests {
  let pipeline = makePipeline()

  func checkpoint(_ step: UInt32) -> TaskCheckpoint { TaskCheckpoint(step: step, tensors: [checkpointTensor(UInt64(step))]) }

  func isDisconnect(_ command: WorkerCommand) -> Bool { if case .disconnect = command { true } else { false } }

  @Test func aDeadWorkersTaskGoesOnFromItsCheckpoint() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    let job = driver.submit()
    let first = try #require(driver.takeAssignments("a").first)
    driver.handle(.worker("a", .checkpoint(first.task, checkpoint(2))))
    driver.handle(.worker("a", .checkpoint(first.task, checkpoint(1))))
    driver.handle(.worker("a", .progress(TaskProgress(first.task, step: 3), stepMilliseconds: 1)))
    #expect(driver.status(job)?.stages[0].stepsDone == 3)
    driver.pass(5_000)
    #expect(driver.takeCommands("a").contains(where: isDisconnect))
    #expect(driver.status(job)?.stages[0].queued == 1)
    #expect(driver.status(job)?.stages[0].stepsDone == 2)
    driver.hello("b", makeHello("b", pipeline: pipeline))
    driver.pass(200, beating: "b")
    let second = try #require(driver.takeAssignments("b").first)
    #expect(second.task == TaskRef(first.task.task, attempt: 2))
    #expect(second.checkpoint?.step == 2)
    #expect(second.checkpoint?.tensors.map(state(of:)) == [2])
  }

  @Test func anotherNumericsClassStartsFromTheBeginning() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, numerics: "cpu"))
    let job = driver.submit()
    let first = try #require(driver.takeAssignments("a").first)
    driver.handle(.worker("a", .checkpoint(first.task, checkpoint(3))))
    driver.handle(.worker("a", .goodbye(reason: "drained")))
    driver.hello("b", makeHello("b", pipeline: pipeline, numerics: "gpu"))
    let second = try #require(driver.takeAssignments("b").first)
    #expect(second.checkpoint == nil)
    #expect(driver.status(job)?.stages[0].stepsDone == 0)
    driver.handle(.worker("b", .checkpoint(second.task, checkpoint(1))))
    driver.handle(.worker("b", .goodbye(reason: "drained")))
    driver.hello("c", makeHello("c", pipeline: pipeline, numerics: "gpu"))
    #expect(driver.takeAssignments("c").first?.checkpoint?.step == 1)
  }

  @Test func anAttemptBehindACheckpointItCannotUseIsNotStalledAfterARestart() throws {
    var limits = BrokerLimits()
    limits.stallMilliseconds = 2_000
    let driver = CoreDriver(limits)
    driver.hello("a", makeHello("a", pipeline: pipeline, numerics: "cpu"))
    let job = driver.submit()
    let first = try #require(driver.takeAssignments("a").first)
    driver.handle(.worker("a", .checkpoint(first.task, checkpoint(3))))
    driver.handle(.worker("a", .goodbye(reason: "drained")))
    driver.hello("b", makeHello("b", pipeline: pipeline, numerics: "gpu"))
    let second = try #require(driver.takeAssignments("b").first)
    driver.restart()
    driver.hello("b2", makeHello("b", pipeline: pipeline, numerics: "gpu", running: [TaskProgress(second.task, step: 0)]))
    #expect(driver.status(job)?.stages[0].stepsDone == 0)
    for step in 1...2 {
      driver.pass(1_500, beating: "b2")
      driver.handle(.worker("b2", .progress(TaskProgress(second.task, step: UInt32(step)), stepMilliseconds: 1_500)))
    }
    #expect(driver.status(job)?.stages[0].stepsDone == 2)
    #expect(!driver.takeCommands("b2").contains(.revoke(second.task)))
  }

  @Test func aCheckpointThatDoesNotFitTheCreditIsLeftOut() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    _ = driver.submit()
    let first = try #require(driver.takeAssignments("a").first)
    driver.handle(.worker("a", .checkpoint(first.task, checkpoint(3))))
    driver.handle(.worker("a", .goodbye(reason: "")))
    driver.hello("b", makeHello("b", pipeline: pipeline, bytes: 7))
    #expect(driver.takeAssignments("b").first?.checkpoint == nil)
  }

  @Test func aLateResultIsGoodAndStopsTheSecondAttempt() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    let job = driver.submit()
    let first = try #require(driver.takeAssignments("a").first)
    driver.pass(5_000)
    driver.hello("b", makeHello("b", pipeline: pipeline))
    driver.pass(200, beating: "b")
    let second = try #require(driver.takeAssignments("b").first)
    // The zombie dials again; its attempt is not the last one, so it is told to stop, but it had finished.
    driver.hello("a2", makeHello("a", pipeline: pipeline, running: [TaskProgress(first.task, step: 4)]))
    #expect(driver.takeCommands("a2").contains(.revoke(first.task)))
    driver.finish(first, at: "a2", pipeline: pipeline)
    #expect(driver.status(job)?.stages[0].done == 1)
    #expect(driver.takeCommands("a2") == [.settled(first.task)])
    #expect(driver.takeCommands("b") == [.revoke(second.task)])
    // The second attempt finishes too: the same bytes are dropped in silence, others loudly.
    driver.finish(second, at: "b", pipeline: pipeline)
    #expect(driver.takeCommands("b") == [.settled(second.task)])
    #expect(!driver.logs.contains { $0.level == "critical" })
    let other = Oracle.output(1, resolution: 1)
    driver.handle(
      .worker("b", .result(TaskResult(task: second.task, digest: other.digest, computeMilliseconds: 1, tensor: other))))
    #expect(driver.logs.contains { $0.level == "critical" })
    #expect(driver.store.stagesDone == 1)
  }

  @Test func aResultThatDoesNotFitIsAFailure() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    let job = driver.submit()
    for attempt in 1...3 as ClosedRange<UInt32> {
      let assignment = try #require(driver.takeAssignments("a").first)
      #expect(assignment.task.attempt == attempt)
      var result = driver.result(assignment, pipeline: pipeline)
      switch attempt {
      case 1: result.digest[0] ^= 1
      case 2: result.tensor = tensor("x0", Array(repeating: 0, count: 12), [3, 2, 2])
      default: result.digest = []
      }
      if attempt == 2 { result.digest = result.tensor.digest }
      driver.handle(.worker("a", .result(result)))
      #expect(driver.commands.contains { $0.command == .settled(assignment.task) })
      driver.pass(1_000, beating: "a")
    }
    #expect(driver.status(job)?.stages[0].running == 1)
    #expect(driver.store.stagesDone == 0)
  }

  @Test func aTaskThatAlwaysFailsIsGivenUpAndTheRestGoesOn() throws {
    var limits = BrokerLimits()
    limits.maxAttempts = 3
    let driver = CoreDriver(limits)
    let single = makePipeline(stages: 1)
    driver.hello("a", makeHello("a", pipeline: single))
    let job = driver.submit(3)
    for _ in 0..<5 {
      let assignment = try #require(driver.takeAssignments("a").first)
      switch assignment.task.task.sample {
      case 0:
        driver.handle(.worker("a", .failure(assignment.task, reason: "poison", permanent: false)))
        #expect(driver.commands.contains { $0.command == .settled(assignment.task) })
      case 1: driver.finish(assignment, at: "a", pipeline: single)
      default: driver.handle(.worker("a", .failure(assignment.task, reason: "no such thing", permanent: true)))
      }
      driver.pass(1_000, beating: "a")
    }
    let status = try #require(driver.status(job))
    #expect(status.state == .failed)
    #expect(status.details.map(\.state) == [.failed, .done, .failed])
    #expect(status.details[0].error == "poison (failed 3 times in a row)")
    #expect(status.details[2].error == "no such thing")
    #expect(driver.refusal(.fetch(job, sample: 0))?.reason.contains("poison") == true)
    driver.restart()
    #expect(driver.status(job) == status)
  }

  @Test func workersThatDieOfATaskCountAndCheckpointsForgive() throws {
    var limits = BrokerLimits()
    limits.maxAttempts = 2
    let driver = CoreDriver(limits)
    let single = makePipeline(stages: 1)
    let job = JobID(rawValue: driver.submitLater)
    driver.hello("0", makeHello("0", pipeline: single))
    #expect(driver.submit() == job)
    for round in 0..<4 as Range<UInt8> {
      let peer = PeerID([round + 48])
      if round > 0 { driver.hello(peer, makeHello("w\(round)", pipeline: single)) }
      let assignment = try #require(driver.takeAssignments(peer).first)
      if round < 3 { driver.handle(.worker(peer, .checkpoint(assignment.task, checkpoint(UInt32(round) + 1)))) }
      driver.handle(.workerGone(peer, reason: "gone"))
      driver.pass(3_000)
    }
    #expect(driver.status(job)?.state == .failed)
  }

  @Test func aWorkerThatDialsAgainSoonLosesNothing() throws {
    var limits = BrokerLimits()
    limits.maxAttempts = 1
    let driver = CoreDriver(limits)
    driver.hello("a", makeHello("a", pipeline: pipeline))
    driver.hello("b", makeHello("b", boot: 2, pipeline: pipeline, slots: 4))
    _ = driver.submit(2)
    let assignment = try #require(driver.takeAssignments("a").first)
    driver.handle(.workerGone("a", reason: "gone"))
    driver.pass(1_000, beating: "b")
    driver.hello("a2", makeHello("a", pipeline: pipeline, running: [TaskProgress(assignment.task, step: 2)]))
    #expect(driver.takeAssignments("b").count == 1)
    driver.finish(assignment, at: "a2", pipeline: pipeline)
    #expect(driver.store.stagesDone == 1)
  }

  @Test func aWorkerThatComesBackDidNotDieOfItsTask() throws {
    var limits = BrokerLimits()
    limits.maxAttempts = 2
    let driver = CoreDriver(limits)
    driver.hello("a0", makeHello("a", pipeline: pipeline))
    let job = driver.submit()
    for round in 0..<5 {
      let peer = PeerID(Array("a\(round)".utf8))
      let assignment = try #require(driver.takeAssignments(peer).first, "round \(round)")
      #expect(assignment.task.attempt == UInt32(round) + 1)
      // Silent for too long, or unreachable; then it is back, too late for its attempt.
      if round % 2 == 0 { driver.pass(6_000) } else { driver.handle(.workerGone(peer, reason: "gone")) }
      driver.pass(3_000)
      driver.hello(PeerID(Array("a\(round + 1)".utf8)), makeHello("a", pipeline: pipeline))
    }
    #expect(driver.status(job)?.state == .running)
    #expect(driver.store.jobs[job]?.samples[0].failures == 0)
  }

  @Test func aStuckTaskIsTakenAway() throws {
    var limits = BrokerLimits()
    limits.stallMilliseconds = 10_000
    let driver = CoreDriver(limits)
    driver.hello("a", makeHello("a", pipeline: pipeline))
    let job = driver.submit()
    let first = try #require(driver.takeAssignments("a").first)
    for step in 1...3 as ClosedRange<UInt32> {
      driver.pass(8_000, beating: "a")
      driver.handle(.worker("a", .beat(running: [TaskProgress(first.task, step: step)])))
    }
    #expect(driver.status(job)?.stages[0].stepsDone == 3)
    _ = driver.takeCommands("a")
    let beat = Event.worker("a", .beat(running: [TaskProgress(first.task, step: 3)]))
    for _ in 0..<12 {
      driver.pass(1_000)
      driver.handle(beat)
    }
    // It beats, but its compute may hang: it gets nothing, and others do.
    #expect(driver.takeCommands("a").allSatisfy { $0 == .beat })
    driver.hello("b", makeHello("b", pipeline: pipeline))
    let second = try #require(driver.takeAssignments("b").first)
    #expect(second.task.task == first.task.task && second.task.attempt == 2)
    _ = driver.submit()
    #expect(driver.takeAssignments("a").isEmpty)
    // The same process on a new socket still hangs.
    var hello = makeHello("a", pipeline: pipeline)
    hello.running = [TaskProgress(first.task, step: 3)]
    driver.hello("a2", hello)
    #expect(driver.takeAssignments("a2").isEmpty)
    // It takes a step: it gets work again, and is told that this one is another's.
    driver.handle(.worker("a2", .beat(running: [TaskProgress(first.task, step: 4)])))
    let commands = driver.takeCommands("a2")
    #expect(commands.contains(.revoke(first.task)))
    #expect(commands.contains { if case .assign = $0 { true } else { false } })
  }

  @Test(arguments: ["result", "failure", "goodbye", "gone from its beats"])
  func aWorkerThatHungGetsWorkAgain(sign: String) throws {
    var limits = BrokerLimits()
    limits.stallMilliseconds = 10_000
    let driver = CoreDriver(limits)
    driver.hello("a", makeHello("a", pipeline: pipeline))
    _ = driver.submit()
    let first = try #require(driver.takeAssignments("a").first)
    for _ in 0..<15 {
      driver.pass(1_000)
      driver.handle(.worker("a", .beat(running: [TaskProgress(first.task, step: 0)])))
    }
    #expect(driver.takeAssignments("a").isEmpty)
    switch sign {
    case "result": driver.finish(first, at: "a", pipeline: pipeline)
    case "failure": driver.handle(.worker("a", .failure(first.task, reason: "out of memory", permanent: false)))
    case "goodbye":
      driver.handle(.worker("a", .goodbye(reason: "drained")))
      driver.hello("a", makeHello("a", boot: 2, pipeline: pipeline))
    default: driver.handle(.worker("a", .beat(running: [])))
    }
    _ = driver.submit()
    #expect(!driver.takeAssignments("a").isEmpty)
  }

  @Test func aResultFromBeforeItsInputWasLostIsNotKept() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    driver.hello("b", makeHello("b", pipeline: pipeline, stage: 1))
    let job = driver.submit()
    driver.finish(try #require(driver.takeAssignments("a").first), at: "a", pipeline: pipeline)
    let old = try #require(driver.takeAssignments("b").first)
    driver.handle(.worker("b", .goodbye(reason: "drained")))
    // The next worker's input cannot be read: the sample begins anew.
    driver.store.damage(TensorKey(job: job, sample: 0, stage: 0))
    driver.hello("c", makeHello("c", pipeline: pipeline, stage: 1))
    driver.finish(try #require(driver.takeAssignments("a").first), at: "a", pipeline: pipeline)
    let new = try #require(driver.takeAssignments("c").last)
    #expect(new.task.task == old.task.task && new.task.attempt > old.task.attempt + 1)
    driver.hello("b2", makeHello("b", pipeline: pipeline, stage: 1))
    driver.finish(old, at: "b2", pipeline: pipeline)
    #expect(driver.takeCommands("b2").contains(.settled(old.task)))
    #expect(driver.status(job)?.state == .running && !driver.takeCommands("c").contains(.revoke(new.task)))
    driver.finish(new, at: "c", pipeline: pipeline)
    #expect(driver.status(job)?.state == .done)
  }

  @Test func bothSidesBeat() {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    _ = driver.takeCommands("a")
    driver.pass(4_900)
    let beats = driver.takeCommands("a").count { $0 == .beat }
    #expect(beats >= 4)
    driver.pass(200)
    #expect(driver.takeCommands("a").contains(where: isDisconnect))
    driver.handle(.worker("a", .beat(running: [])))
    #expect(driver.takeCommands("a").contains(where: isDisconnect), "it is unknown now")
    #expect(driver.ask(.workers) == .workers([]))
  }

  @Test func theBrokersOwnAbsenceIsNotTheWorkersSilence() {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    let job = driver.submit()
    _ = driver.takeCommands("a")
    driver.now += 60_000
    driver.handle(.tick)
    #expect(driver.status(job)?.stages[0].running == 1)
    driver.pass(5_000)
    #expect(driver.status(job)?.stages[0].queued == 1)
  }

  @Test func strangersAreTurnedAway() throws {
    let driver = CoreDriver()
    driver.handle(.worker("x", .beat(running: [])))
    #expect(driver.takeCommands("x").contains(where: isDisconnect))
    var hello = makeHello("x", pipeline: pipeline)
    hello.stage = "nose"
    driver.hello("x", hello)
    hello = makeHello("x", pipeline: pipeline, slots: 0)
    driver.hello("x", hello)
    driver.hello("x", makeHello("x", pipeline: pipeline, stage: 1, bytes: 11))
    hello = makeHello("x", pipeline: pipeline)
    hello.pipeline.digest = [1]
    driver.hello("x", hello)
    #expect(driver.takeCommands("x").count(where: isDisconnect) == 4)
    // The same digest cannot be another pipeline.
    driver.hello("a", makeHello("a", pipeline: pipeline))
    hello = makeHello("x", pipeline: pipeline)
    hello.pipeline.labels = ["other"]
    driver.hello("x", hello)
    #expect(driver.takeCommands("x").contains(where: isDisconnect))
    // Nor can a worker report on what it was never given.
    _ = driver.submit(2)
    let assignment = try #require(driver.takeAssignments("a").first)
    var never = assignment
    never.task.task.sample = 1
    driver.finish(never, at: "a", pipeline: pipeline)
    #expect(driver.takeCommands("a").contains(where: isDisconnect))
    never.task.task.sample = 77
    driver.hello("a", makeHello("a", boot: 2, pipeline: pipeline))
    driver.finish(never, at: "a", pipeline: pipeline)
    #expect(driver.takeCommands("a").contains(where: isDisconnect))
  }

  @Test func pipelinesThatNobodyUsesMakeRoom() {
    var limits = BrokerLimits()
    limits.maxPipelines = 2
    let driver = CoreDriver(limits)
    driver.hello("a", makeHello("a", pipeline: pipeline))
    driver.hello("b", makeHello("b", pipeline: makePipeline(version: 2)))
    driver.hello("c", makeHello("c", pipeline: makePipeline(version: 3)))
    #expect(driver.takeCommands("c").contains(where: isDisconnect))
    driver.handle(.worker("b", .goodbye(reason: "")))
    driver.hello("c", makeHello("c", pipeline: makePipeline(version: 3)))
    #expect(driver.store.pipelines.map(\.digest) == [pipeline.digest, makePipeline(version: 3).digest])
  }

  @Test func afterARestartRunningTasksAreAdopted() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, slots: 2))
    let job = driver.submit(3)
    let assignments = driver.takeAssignments("a")
    #expect(assignments.count == 2)
    driver.handle(.worker("a", .checkpoint(assignments[1].task, checkpoint(2))))
    driver.restart()
    #expect(driver.status(job)?.stages[0].running == 2)
    driver.hello("b", makeHello("b", pipeline: pipeline, slots: 4))
    #expect(driver.takeAssignments("b").map(\.task.task.sample) == [2], "what was leased waits for its worker")
    // The worker is back, with one of its two tasks.
    driver.hello("a2", makeHello("a", pipeline: pipeline, slots: 2, running: [TaskProgress(assignments[0].task, step: 3)]))
    #expect(!driver.takeCommands("a2").contains(.revoke(assignments[0].task)))
    #expect(driver.status(job)?.stages[0].stepsDone == 5)
    driver.pass(6_000, beating: "a2", "b")
    let again = try #require(driver.takeAssignments("a2").first ?? driver.takeAssignments("b").first)
    #expect(again.task == TaskRef(assignments[1].task.task, attempt: 2))
    #expect(again.checkpoint?.step == 2)
    // What it had saved is no step lost.
    #expect(driver.store.attempts[assignments[1].task]?.firstStep == 2)
    driver.finish(assignments[0], at: "a2", pipeline: pipeline)
    #expect(driver.status(job)?.stages[0].done == 1)
  }

  @Test func adoptionNeedsTheLastAttemptAndAFreeSlot() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, slots: 3))
    _ = driver.submit(3)
    let assignments = driver.takeAssignments("a")
    driver.restart()
    let running =
      assignments.map { TaskProgress($0.task, step: 1) } + [TaskProgress(TaskRef(assignments[0].task.task, attempt: 2), step: 1)]
    driver.hello("b", makeHello("a", pipeline: pipeline, slots: 2, running: Array(running.reversed())))
    let revoked = driver.takeCommands("b").compactMap { if case .revoke(let task) = $0 { task } else { nil } }
    #expect(revoked == [running[3].task, running[0].task])
  }

  @Test func theSameProcessOnANewSocketGoesOn() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, slots: 2))
    let job = driver.submit(2)
    let assignments = driver.takeAssignments("a")
    driver.hello("a2", makeHello("a", pipeline: pipeline, slots: 2, running: [TaskProgress(assignments[0].task, step: 2)]))
    // The assignment that got lost on the way is made again.
    #expect(driver.takeAssignments("a2").map(\.task) == [TaskRef(assignments[1].task.task, attempt: 2)])
    #expect(driver.status(job)?.details.map(\.attempts) == [1, 2])
    guard case .workers(let workers) = driver.ask(.workers) else { return }
    #expect(workers.count == 1)
  }

  @Test func damagedTensorsOnDisk() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    driver.hello("b", makeHello("b", pipeline: pipeline, stage: 1))
    let job = driver.submit()
    let first = try #require(driver.takeAssignments("a").first)
    driver.handle(.worker("a", .checkpoint(first.task, checkpoint(2))))
    driver.handle(.worker("a", .goodbye(reason: "")))
    driver.hello("a", makeHello("a", pipeline: pipeline))
    let second = try #require(driver.takeAssignments("a").first)
    driver.handle(.tensorsLost(second.task, .checkpoint))
    let third = try #require(driver.takeAssignments("a").first)
    #expect(third.task.attempt == 3 && third.checkpoint == nil)
    driver.finish(third, at: "a", pipeline: pipeline)
    let next = try #require(driver.takeAssignments("b").first)
    driver.handle(.tensorsLost(next.task, .input))
    // What is lost is computed again, from the beginning.
    #expect(driver.status(job)?.stages.map(\.running) == [1, 0])
    #expect(driver.status(job)?.stages.map(\.done) == [0, 0])
    let again = try #require(driver.takeAssignments("a").first)
    #expect(again.task.task == third.task.task && again.task.attempt > third.task.attempt && again.checkpoint == nil && again.lowRes == nil)
    #expect(driver.status(job)?.details.map(\.attempts) == [1])
    // Who still had the stage that was not reached again yet may say so.
    let stale = driver.result(next, pipeline: pipeline)
    driver.handle(.worker("b", .result(stale)))
    #expect(driver.takeCommands("b").contains(.settled(next.task)) && driver.status(job)?.stages.map(\.done) == [0, 0])
    driver.restart()
    driver.hello("a", makeHello("a", pipeline: pipeline, running: [TaskProgress(again.task, step: 1)]))
    driver.hello("b", makeHello("b", pipeline: pipeline, stage: 1))
    driver.finish(again, at: "a", pipeline: pipeline)
    let last = try #require(driver.takeAssignments("b").first)
    #expect(last.lowRes == driver.result(again, pipeline: pipeline).tensor && last.task.attempt > next.task.attempt)
    // But not for ever.
    var lost = last
    for restart in 2...driver.core.limits.maxAttempts {
      driver.handle(.tensorsLost(lost.task, .input))
      let anew = try #require(driver.takeAssignments("a").first, "restart \(restart)")
      driver.finish(anew, at: "a", pipeline: pipeline)
      lost = try #require(driver.takeAssignments("b").first, "restart \(restart)")
    }
    driver.handle(.tensorsLost(lost.task, .input))
    #expect(driver.status(job)?.state == .failed)
  }
}

extension CoreDriver {
  /// The id that the next job gets.
  fileprivate var submitLater: UInt64 { 101 }

  @Test func anAdoptedAttemptMeasuresNothing() throws {
    let pipeline = makePipeline(stages: 1)
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    _ = driver.submit()
    let assignment = try #require(driver.takeAssignments("a").first)
    driver.restart()
    driver.hello("a", makeHello("a", pipeline: pipeline, running: [TaskProgress(assignment.task, step: 3)]))
    var result = driver.result(assignment, pipeline: pipeline)
    // Of one step or of all four: the restarted broker can't know.
    result.computeMilliseconds = 1
    driver.handle(.worker("a", .result(result)))
    let key = try #require(driver.core.pipelines.key(forDigest: pipeline.digest))
    #expect(driver.core.passTimes.milliseconds(StageKey(pipeline: key, stage: 0)) == nil)
  }
}
