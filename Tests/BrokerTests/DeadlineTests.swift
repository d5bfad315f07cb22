import Foundation
import SeededRandom
import Testing
import Wire

@testable import Broker

struct DeadlineTests {
  enum Policy { case fifo, earliestFirst, weir }

  struct Outcome {
    var met = 0
    /// Milliseconds that were spent on jobs that missed their deadlines.
    var wasted = 0.0
  }

  /// Jobs of one to eight samples at random times, whose deadlines leave two to ten times the time they need alone.
  func trace(load: Double, seed: UInt64) -> [(arrival: VirtualFleet.Arrival, deadline: Int64)] {
    var random = SplitMix64(seed: seed)
    var time = 0.0
    return (0..<400).map { _ in
      let count = UInt32.random(in: 1...8, using: &random)
      // Four workers, 100 ms a sample.
      let work = Double(count) * 100 / 4
      let mean = 4.5 * 100 / 4 / load
      let urgency = Double.random(in: 2...10, using: &random)
      time += -mean * log(1 - Double.random(in: 0..<1, using: &random))
      let patience = UInt64((100 + work) * urgency)
      let submission = Submission(runs: [SampleRun(label: "clay", seed: 1, count: count)], deadlineMilliseconds: patience)
      return (VirtualFleet.Arrival(time: Int64(time), submission: submission), Int64(time) + Int64(patience))
    }
  }

  func run(_ trace: [(arrival: VirtualFleet.Arrival, deadline: Int64)], _ policy: Policy) -> Outcome {
    let warmUp = VirtualFleet.Arrival(time: 0, submission: Submission(runs: [SampleRun(label: "clay", seed: 1, count: 4)]))
    switch policy {
    case .weir:
      let fleet = VirtualFleet(stages: [(10, 10, 4)])
      let arrivals = [warmUp] + trace.map { VirtualFleet.Arrival(time: $0.arrival.time + 1_000, submission: $0.arrival.submission) }
      fleet.run(arrivals, until: 1_000_000)
      var outcome = Outcome()
      for (index, entry) in trace.enumerated() {
        guard let job = fleet.jobs[index + 1] else { continue }
        if let end = fleet.ended[job], end.state == .done, end.time <= entry.deadline + 1_000 {
          outcome.met += 1
        } else {
          outcome.wasted += fleet.workStarted[job] ?? 0
        }
      }
      return outcome
    case .fifo, .earliestFirst: return simulate(trace, byDeadline: policy == .earliestFirst)
    }
  }

  /// The two textbook policies, which refuse and stop nothing.
  private func simulate(_ trace: [(arrival: VirtualFleet.Arrival, deadline: Int64)], byDeadline: Bool) -> Outcome {
    var free = [Int64](repeating: 0, count: 4)
    var left = trace.map { $0.arrival.submission.runs[0].count }
    var ends = [Int64](repeating: 0, count: trace.count)
    var waiting: Set<Int> = []
    var next = 0
    while next < trace.count || !waiting.isEmpty {
      guard let worker = free.indices.min(by: { free[$0] < free[$1] }) else { break }
      while next < trace.count, waiting.isEmpty || trace[next].arrival.time <= free[worker] {
        if waiting.isEmpty { free[worker] = max(free[worker], trace[next].arrival.time) }
        waiting.insert(next)
        next += 1
      }
      guard let job = waiting.min(by: { byDeadline ? (trace[$0].deadline, $0) < (trace[$1].deadline, $1) : $0 < $1 }) else { break }
      free[worker] += 100
      left[job] -= 1
      ends[job] = max(ends[job], free[worker])
      if left[job] == 0 { waiting.remove(job) }
    }
    var outcome = Outcome()
    for (index, entry) in trace.enumerated() {
      if ends[index] <= entry.deadline {
        outcome.met += 1
      } else {
        outcome.wasted += Double(entry.arrival.submission.runs[0].count) * 100
      }
    }
    return outcome
  }

  @Test(arguments: [0.8, 1.0, 1.2], [1, 2, 3] as [UInt64]) func atLeastAsManyDeadlinesAreMetAsByOthers(load: Double, seed: UInt64) {
    let trace = trace(load: load, seed: seed)
    let (ours, fifo, earliest) = (run(trace, .weir), run(trace, .fifo), run(trace, .earliestFirst))
    print("deadlines met at \(load) of capacity, seed \(seed): FIFO \(fifo.met), EDF \(earliest.met), Weir \(ours.met) of \(trace.count)")
    #expect(ours.met >= fifo.met && ours.met >= earliest.met, "load \(load), seed \(seed): \(ours), FIFO \(fifo), EDF \(earliest)")
    #expect(ours.wasted <= fifo.wasted && ours.wasted <= earliest.wasted)
  }

  let pipeline = makePipeline(stages: 1, steps: 10)

  func submission(_ count: UInt32, deadline: UInt64?) -> ClientRequest {
    .submit(Submission(runs: [SampleRun(label: "clay", seed: 5, count: count)], deadlineMilliseconds: deadline))
  }

  /// A driver whose one worker was measured to take 100 ms a step.
  func measured() throws -> CoreDriver {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    _ = driver.submit()
    let assignment = try #require(driver.takeAssignments("a").first)
    driver.handle(.worker("a", .progress(TaskProgress(assignment.task, step: 1), stepMilliseconds: 100)))
    var result = driver.result(assignment, pipeline: pipeline)
    result.computeMilliseconds = 1_000
    driver.handle(.worker("a", .result(result)))
    return driver
  }

  @Test func whatCannotBeDoneInTimeIsRefusedWithThePrediction() throws {
    let driver = try measured()
    let refusal = driver.refusal(submission(3, deadline: 2_900))
    #expect(refusal?.code == .tooLate && refusal?.reason.contains("about 3000 ms") == true, "\(String(describing: refusal))")
    guard case .accepted = driver.ask(submission(3, deadline: 3_000)) else {
      Issue.record("3 s of work in 3 s were refused")
      return
    }
    #expect(driver.refusal(submission(1, deadline: 3_500))?.code == .tooLate, "there is work ahead with an earlier deadline")
    // More urgent work goes first.
    guard case .accepted = driver.ask(submission(1, deadline: 1_100)) else {
      Issue.record("the urgent one was refused")
      return
    }
  }

  /// A guided step calls the network twice, and takes twice as long: in the forecast, and where a guided task was measured.
  @Test func guidedStepsCountTwice() throws {
    var pipeline = pipeline
    pipeline.stages[0].defaultGuidance = 1
    func guided(_ weight: Double?) -> [StageOptions] { [StageOptions(stage: "stage0", guidance: weight)] }
    for measured in [1.0, 3] {
      let driver = CoreDriver()
      driver.hello("a", makeHello("a", pipeline: pipeline))
      _ = driver.ask(.submit(Submission(runs: [SampleRun(label: "clay", seed: 1, count: 1)], options: guided(measured))))
      let assignment = try #require(driver.takeAssignments("a").first)
      // 100 ms a pass, in the worker's words.
      driver.handle(.worker("a", .progress(TaskProgress(assignment.task, step: 1), stepMilliseconds: 100)))
      var result = driver.result(assignment, pipeline: pipeline)
      result.computeMilliseconds = measured == 1 ? 1_000 : 2_000
      driver.handle(.worker("a", .result(result)))
      for (weight, milliseconds) in [(nil, 1_000), (1, 1_000), (0, 2_000), (3, 2_000)] as [(Double?, UInt64)] {
        let refusal = driver.refusal(
          .submit(
            Submission(
              runs: [SampleRun(label: "clay", seed: 2, count: 1)], options: guided(weight), deadlineMilliseconds: milliseconds - 1)))
        #expect(
          refusal?.code == .tooLate && refusal?.reason.contains("about \(milliseconds) ms") == true,
          "measured at \(measured), asked for \(String(describing: weight)): \(String(describing: refusal))")
      }
    }
  }

  @Test func withoutMeasurementsNothingIsRefused() {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    guard case .accepted = driver.ask(submission(1_000, deadline: 1)) else {
      Issue.record("refused on no ground")
      return
    }
  }

  @Test func jobsThatExpireAreStoppedAndTellTheTruth() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, slots: 2))
    guard case .accepted(let acceptance) = driver.ask(submission(5, deadline: 5_000)) else { return }
    let other = driver.submit()
    let running = driver.takeAssignments("a")
    driver.finish(running[0], at: "a", pipeline: pipeline)
    driver.pass(4_900, beating: "a")
    #expect(driver.status(acceptance.job)?.state == .running)
    driver.pass(100, beating: "a")
    let status = try #require(driver.status(acceptance.job))
    #expect(status.state == .expired && status.reason != nil && status.details[0].state == .done)
    let commands = driver.takeCommands("a")
    #expect(commands.contains(.revoke(running[1].task)))
    #expect(commands.contains { if case .assign(let it) = $0 { it.task.task.job == other } else { false } }, "the slots are free")
    guard case .image = driver.ask(.fetch(acceptance.job, sample: 0)) else {
      Issue.record("what was finished stays")
      return
    }
    driver.restart()
    #expect(driver.status(acceptance.job)?.state == .expired)
  }

  @Test func aDeadlineOutlivesTheBroker() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline))
    guard case .accepted(let acceptance) = driver.ask(submission(5, deadline: 5_000)) else { return }
    driver.pass(2_000, beating: "a")
    driver.restart()
    let before = driver.status(acceptance.job)
    #expect(before?.state == .running && before?.deadlineUnixMilliseconds == 1_000_000 + 1_000 + 5_000)
    driver.pass(3_100)
    #expect(driver.status(acceptance.job)?.state == .expired)
  }

  @Test func whatCannotFinishAnyMoreHoldsNoSlot() throws {
    let driver = try measured()
    guard case .accepted(let acceptance) = driver.ask(submission(1, deadline: 2_000)) else { return }
    let assignment = try #require(driver.takeAssignments("a").first)
    // Stuck at its second step: with 0.8 s to go eight steps are out of reach.
    driver.handle(.worker("a", .progress(TaskProgress(assignment.task, step: 1), stepMilliseconds: 100)))
    driver.pass(1_000, beating: "a")
    #expect(driver.status(acceptance.job)?.state == .running)
    driver.pass(700, beating: "a")
    #expect(driver.status(acceptance.job)?.state == .expired)
    #expect(driver.takeCommands("a").contains(.revoke(assignment.task)))
  }
}
