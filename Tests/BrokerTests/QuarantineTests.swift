import Testing
import Wire

@testable import Broker

struct QuarantineTests {
  let pipeline = makePipeline(stages: 1)

  func wrong(_ assignment: Assignment, _ salt: UInt64 = 1) -> WorkerMessage {
    let output = Oracle.output(salt, resolution: 1)
    return .result(TaskResult(task: assignment.task, digest: output.digest, computeMilliseconds: 1, tensor: output))
  }

  /// Two workers with different results of one task: `liar` is the one that is wrong.
  func dispute(_ driver: CoreDriver, liar: PeerID) throws {
    driver.hello("a", makeHello("a", pipeline: pipeline))
    _ = driver.submit()
    let first = try #require(driver.takeAssignments("a").first)
    driver.pass(5_000)
    driver.hello("b", makeHello("b", pipeline: pipeline))
    driver.pass(200, beating: "b")
    let second = try #require(driver.takeAssignments("b").first)
    driver.hello("a", makeHello("a", pipeline: pipeline))
    for (peer, assignment) in [("a" as PeerID, first), ("b", second)] {
      if peer == liar {
        driver.handle(.worker(peer, wrong(assignment)))
      } else {
        driver.finish(assignment, at: peer, pipeline: pipeline)
      }
    }
    #expect(driver.logs.contains { $0.level == "critical" && $0.text.contains("ran twice") })
  }

  func quarantined(_ driver: CoreDriver) -> [String] {
    guard case .workers(let workers) = driver.ask(.workers) else { return [] }
    return workers.filter { $0.quarantine != nil }.map(\.name)
  }

  /// A finished sample does not remember that it began anew; its trial ends all the same.
  @Test func aSampleThatBeganAnewIsTried() throws {
    let two = makePipeline()
    let driver = CoreDriver(draftBytes: 1 << 20)
    driver.hello("a", makeHello("a", pipeline: two))
    _ = driver.submit()
    driver.finish(try #require(driver.takeAssignments("a").first), at: "a", pipeline: two)
    driver.restart()
    driver.hello("z", makeHello("z", pipeline: two, stage: 1))
    driver.hello("a", makeHello("a", pipeline: two))
    let first = try #require(driver.takeAssignments("a").first)
    #expect(AttemptNumber.isRestarted(first.task.attempt))
    driver.pass(5_000, beating: "z")
    driver.hello("b", makeHello("b", pipeline: two))
    driver.pass(200, beating: "b", "z")
    let second = try #require(driver.takeAssignments("b").first)
    driver.finish(second, at: "b", pipeline: two)
    driver.hello("a", makeHello("a", pipeline: two))
    driver.handle(.worker("a", wrong(first)))
    driver.drain(["z"], pipeline: two)
    driver.hello("c", makeHello("c", pipeline: two))
    let trial = try #require(driver.takeAssignments("c").first)
    driver.finish(trial, at: "c", pipeline: two)
    #expect(quarantined(driver) == ["a"])
    #expect(driver.core.footprint.leases == 0)
  }

  @Test(arguments: ["a", "b"]) func aThirdWorkerTellsWhoIsWrong(liar: String) throws {
    let driver = CoreDriver()
    try dispute(driver, liar: PeerID(Array(liar.utf8)))
    #expect(driver.takeAssignments("a").isEmpty && driver.takeAssignments("b").isEmpty, "no party judges itself")
    driver.hello("x", makeHello("x", pipeline: pipeline, numerics: "gpu"))
    #expect(driver.takeAssignments("x").isEmpty, "nor does another numerics class")
    driver.hello("y", makeHello(liar, boot: 77, pipeline: pipeline))
    #expect(driver.takeAssignments("y").isEmpty, "nor does a party that was started again")
    driver.handle(.worker("y", .goodbye(reason: "")))
    driver.hello("c", makeHello("c", pipeline: pipeline))
    let trial = try #require(driver.takeAssignments("c").first)
    #expect(quarantined(driver).isEmpty)
    driver.finish(trial, at: "c", pipeline: pipeline)
    #expect(quarantined(driver) == [liar])
    #expect(driver.logs.contains { $0.level == "critical" && $0.text.contains("worker \(liar) is quarantined") })
    driver.handle(.worker("x", .goodbye(reason: "")))
    _ = driver.submit(4)
    #expect(driver.takeAssignments(PeerID(Array(liar.utf8))).isEmpty)
    #expect(driver.takeAssignments("c").count == 1)

    // The same process stays out, a new one of that name is trusted.
    driver.restart()
    driver.hello("l", makeHello(liar, pipeline: pipeline, slots: 4))
    driver.pass(6_000, beating: "l")
    #expect(driver.takeAssignments("l").isEmpty && quarantined(driver) == [liar])
    driver.hello("l", makeHello(liar, boot: 2, pipeline: pipeline, slots: 4))
    #expect(!driver.takeAssignments("l").isEmpty && quarantined(driver).isEmpty)
  }

  @Test func aTrialSurvivesItsJudge() throws {
    let driver = CoreDriver()
    try dispute(driver, liar: "b")
    driver.hello("c", makeHello("c", pipeline: pipeline))
    let first = try #require(driver.takeAssignments("c").first)
    driver.handle(.worker("c", .progress(TaskProgress(first.task, step: 3), stepMilliseconds: 1)))
    driver.handle(.worker("c", .goodbye(reason: "drained")))
    driver.hello("d", makeHello("d", pipeline: pipeline))
    let second = try #require(driver.takeAssignments("d").first)
    #expect(second.task.attempt > first.task.attempt)
    driver.handle(.worker("d", .failure(second.task, reason: "no", permanent: false)))
    let third = try #require(driver.takeAssignments("d").first)
    driver.finish(third, at: "d", pipeline: pipeline)
    #expect(quarantined(driver) == ["b"])
  }

  @Test func threeDifferentResultsConvictNobody() throws {
    let driver = CoreDriver()
    try dispute(driver, liar: "a")
    driver.hello("c", makeHello("c", pipeline: pipeline))
    driver.handle(.worker("c", wrong(try #require(driver.takeAssignments("c").first), 9)))
    #expect(quarantined(driver).isEmpty && driver.logs.contains { $0.text.contains("three different results") })
  }

  @Test func aTrialThatAlwaysFailsEnds() throws {
    let driver = CoreDriver()
    try dispute(driver, liar: "a")
    driver.hello("c", makeHello("c", pipeline: pipeline))
    var trials = 0
    while let trial = driver.takeAssignments("c").first, trials < 100 {
      trials += 1
      driver.handle(.worker("c", .failure(trial.task, reason: "no", permanent: false)))
    }
    #expect(trials == 5 && driver.core.leases.count == 0)
  }

  @Test func whoLosesTwoDisputesIsQuarantinedOnce() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, slots: 2))
    _ = driver.submit(2)
    let lies = driver.takeAssignments("a")
    driver.pass(5_000)
    driver.hello("b", makeHello("b", pipeline: pipeline, slots: 2))
    driver.pass(400, beating: "b")
    let repeated = driver.takeAssignments("b")
    #expect(lies.count == 2 && repeated.count == 2)
    for assignment in repeated { driver.finish(assignment, at: "b", pipeline: pipeline) }
    driver.hello("a", makeHello("a", pipeline: pipeline, slots: 2))
    for assignment in lies { driver.handle(.worker("a", wrong(assignment))) }
    driver.hello("c", makeHello("c", pipeline: pipeline, slots: 2))
    let trials = driver.takeAssignments("c")
    #expect(trials.count == 2)
    for trial in trials { driver.finish(trial, at: "c", pipeline: pipeline) }
    #expect(quarantined(driver) == ["a"])
    let records = driver.records.count { if case .quarantined = $0 { true } else { false } }
    #expect(records == 1)
  }
}
