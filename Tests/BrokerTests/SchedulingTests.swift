import Testing
import Wire

@testable import Broker

/// Who gets the fleet, in virtual time.
struct SchedulingTests {
  func submission(
    _ count: UInt32, steps: UInt32? = nil, tenant: String = "", priority: Priority = .normal, deadline: UInt64? = nil
  ) -> Submission {
    Submission(
      runs: [SampleRun(label: "clay", seed: 1, count: count)], options: steps.map { [StageOptions(stage: "", steps: $0)] } ?? [],
      tenant: tenant, priority: priority, deadlineMilliseconds: deadline)
  }

  func percentile(_ values: [Int64], _ part: Double) -> Int64 {
    let sorted = values.sorted()
    return sorted[min(sorted.count - 1, Int(part * Double(sorted.count)))]
  }

  @Test(arguments: [1, 2]) func withWeightsOfThreeToOneWorkIsThreeToOne(stages: Int) {
    var limits = BrokerLimits()
    limits.weights = ["a": 3]
    let fleet = VirtualFleet(limits, stages: Array(repeating: (steps: 10, milliseconds: 2, workers: 4), count: stages))
    // Tasks of different sizes, so that shares of work are not shares of tasks.
    fleet.run(
      [
        .init(time: 0, submission: submission(4_000, steps: 7, tenant: "a")),
        .init(time: 5, submission: submission(1_000, steps: 40, tenant: "b")),
      ], until: 12_000)
    let ratio = (fleet.workDone["a"] ?? 0) / (fleet.workDone["b"] ?? 1)
    #expect(abs(ratio / 3 - 1) < 0.05, "\(fleet.workDone)")
    let total = fleet.workDone.values.reduce(0, +)
    #expect(total > 0.98 * 12_000 * 4 * Double(stages), "nobody idles: \(total)")
  }

  @Test func aSmallTenantDoesNotWaitForALargeOne() {
    func latencies(loaded: Bool) -> [Int64] {
      let fleet = VirtualFleet(stages: [(10, 10, 4), (10, 20, 8), (10, 40, 16)])
      var arrivals: [VirtualFleet.Arrival] = []
      if loaded { for _ in 0..<10 { arrivals.append(.init(time: 0, submission: submission(10_000, tenant: "large"))) } }
      let first = arrivals.count
      for second in 1...100 { arrivals.append(.init(time: Int64(second) * 1_000, submission: submission(1, tenant: "small"))) }
      fleet.run(arrivals, until: 110_000)
      return (first..<arrivals.count).compactMap { index in
        fleet.jobs[index].flatMap { fleet.ended[$0] }.map { $0.time - arrivals[index].time }
      }
    }
    let idle = latencies(loaded: false)
    let loaded = latencies(loaded: true)
    #expect(idle.count == 100 && loaded.count == 100)
    #expect(
      percentile(loaded, 0.99) <= 2 * percentile(idle, 0.99), "idle \(percentile(idle, 0.99)) ms, loaded \(percentile(loaded, 0.99)) ms")
  }

  @Test func higherClassesGoFirst() {
    let fleet = VirtualFleet(stages: [(10, 1, 1)])
    fleet.run(
      [
        .init(time: 0, submission: submission(100, priority: .low)), .init(time: 1, submission: submission(50)),
        .init(time: 2, submission: submission(50, priority: .high)),
      ], until: 10_000)
    let times = (0..<3).compactMap { fleet.jobs[$0].flatMap { fleet.ended[$0]?.time } }
    #expect(times.count == 3 && times[2] <= 520 && times[1] <= 1_030 && times[0] >= 2_000, "\(times)")
  }

  @Test func whatIsBegunGetsFinished() {
    var limits = BrokerLimits()
    limits.waitingPerSlot = 3
    // The second stage is ten times as slow.
    let fleet = VirtualFleet(limits, stages: [(10, 1, 1), (10, 10, 1)])
    fleet.run([.init(time: 0, submission: submission(100))], until: 9_000)
    #expect((fleet.longestQueue[1] ?? 0) <= 3, "\(fleet.longestQueue)")
    #expect((fleet.workDone[JobTerms.defaultTenant] ?? 0) > 9_000, "\(fleet.workDone)")
  }

  @Test func withoutWorkersOfTheNextStageOutputsAreBoundedInBytes() {
    var limits = BrokerLimits()
    // Outputs of 12 bytes.
    limits.waitingBytes = 120
    let driver = CoreDriver(limits)
    let pipeline = makePipeline()
    driver.hello("w0", makeHello("w0", pipeline: pipeline, slots: 2))
    let job = driver.submit(50)
    driver.drain(["w0"], pipeline: pipeline)
    let held = Int(driver.status(job)?.stages[0].done ?? 0)
    #expect((10...12).contains(held), "\(held) outputs of 12 bytes")
    driver.hello("w1", makeHello("w1", pipeline: pipeline, stage: 1))
    driver.drain(["w0", "w1"], pipeline: pipeline)
    #expect(driver.status(job)?.state == .done)
  }

  @Test func aStageWaitsUntilHalfOfTheNextOnesQueueIsLeft() throws {
    var limits = BrokerLimits()
    limits.waitingPerSlot = 4
    let driver = CoreDriver(limits)
    let pipeline = makePipeline()
    driver.hello("w0", makeHello("w0", pipeline: pipeline))
    driver.hello("w1", makeHello("w1", pipeline: pipeline, stage: 1, slots: 2))
    _ = driver.submit(50)
    // Two in the slots of the second stage, then eight that wait.
    var made = 0
    while let task = driver.takeAssignments("w0").first {
      driver.finish(task, at: "w0", pipeline: pipeline)
      made += 1
    }
    #expect(made == 10)
    var inSlots = driver.takeAssignments("w1")
    for waiting in [7, 6, 5, 4] {
      driver.finish(inSlots.removeFirst(), at: "w1", pipeline: pipeline)
      inSlots += driver.takeAssignments("w1")
      let next = driver.takeAssignments("w0")
      #expect(next.count == (waiting > 4 ? 0 : 1), "\(waiting) wait")
      if let task = next.first { driver.finish(task, at: "w0", pipeline: pipeline) }
    }
    // And then again until eight wait.
    made = 1
    while let task = driver.takeAssignments("w0").first {
      driver.finish(task, at: "w0", pipeline: pipeline)
      made += 1
    }
    #expect(made == 4)
  }

  @Test func tenantsAndTheWholeHaveLimits() {
    var limits = BrokerLimits()
    limits.maxOpenTasksPerTenant = 10
    limits.maxOpenTasks = 16
    let driver = CoreDriver(limits)
    let pipeline = makePipeline(stages: 1)
    driver.hello("w", makeHello("w", pipeline: pipeline))
    #expect(driver.ask(.submit(submission(8, tenant: "a"))).map { if case .accepted = $0 { true } else { false } } == true)
    let refusal = driver.refusal(.submit(submission(3, tenant: "a")))
    #expect(refusal?.code == .overloaded && refusal?.reason.contains("tenant 'a'") == true && refusal?.retryAfterMilliseconds == 1_000)
    #expect(driver.refusal(.submit(submission(17, tenant: "c")))?.code == .invalid)
    #expect(driver.ask(.submit(submission(8, tenant: "b"))).map { if case .accepted = $0 { true } else { false } } == true)
    // Once steps are measured, the time until there is room is known: a sixteenth of 16 times 4 steps of 5 s for one worker.
    guard let first = driver.takeAssignments("w").first else { return }
    driver.handle(.worker("w", .progress(TaskProgress(first.task, step: 1), stepMilliseconds: 5_000)))
    let later = driver.refusal(.submit(submission(1, tenant: "c")))
    #expect((15_000...20_000).contains(later?.retryAfterMilliseconds ?? 0), "\(String(describing: later))")
  }

  @Test func noisyMeasurementsChangeNobodysShare() throws {
    let pipeline = makePipeline(stages: 1)
    let driver = CoreDriver()
    driver.hello("w", makeHello("w", pipeline: pipeline))
    var jobs: [JobID: String] = [:]
    for tenant in ["a", "b"] {
      let submission = Submission(runs: [SampleRun(label: "clay", seed: 1, count: 40)], tenant: tenant)
      guard case .accepted(let acceptance)? = driver.ask(.submit(submission)) else { throw NoAnswer() }
      jobs[acceptance.job] = tenant
    }
    var got = ["a": 0, "b": 0]
    for _ in 0..<40 {
      let assignment = try #require(driver.takeAssignments("w").first)
      let tenant = jobs[assignment.task.task.job] ?? ""
      got[tenant, default: 0] += 1
      var result = driver.result(assignment, pipeline: pipeline)
      // One is always measured as fast when the other is about to be charged.
      result.computeMilliseconds = tenant == "a" ? 400 : 4
      driver.handle(.worker("w", .result(result)))
    }
    #expect(got == ["a": 20, "b": 20])
  }
}
