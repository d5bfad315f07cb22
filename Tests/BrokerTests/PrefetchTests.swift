import Load
import Testing
import Wire

@testable import Broker

/// Tasks that a worker is given ahead of those it steps.
struct PrefetchTests {
  let pipeline = makePipeline()

  @Test func aWorkerIsGivenItsSlotsAndSomeAhead() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, slots: 2, prefetch: 1))
    _ = driver.submit(5)
    let given = driver.takeAssignments("a")
    #expect(given.count == 3)
    guard case .workers(let list) = driver.ask(.workers) else {
      Issue.record("no list of workers")
      return
    }
    #expect(list.map(\.running) == [2], "what waits does not run")
    driver.finish(try #require(given.first), at: "a", pipeline: pipeline)
    #expect(driver.takeAssignments("a").count == 1)
  }

  /// On its way through the broker a task takes longer than some tasks do.
  @Test(arguments: [(10.0, 10), (60, 1), (1_000, 1), (0, 12), (30, 3)])
  func ofShortTasksMoreAreGivenAhead(milliseconds: Double, ahead: Int) throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, prefetch: 12))
    _ = driver.submit(60)
    var held = driver.takeAssignments("a")
    #expect(held.count == 2, "it has not shown yet how long a task takes")
    for _ in 0..<5 {
      var result = driver.result(held.removeFirst(), pipeline: pipeline)
      result.computeMilliseconds = milliseconds
      driver.handle(.worker("a", .result(result)))
      held += driver.takeAssignments("a")
    }
    #expect(held.count == 1 + ahead)
    // Tasks that take longer, of another job say, are not given so far ahead; what it has it keeps.
    for _ in 0..<40 {
      var result = driver.result(held.removeFirst(), pipeline: pipeline)
      result.computeMilliseconds = 500
      driver.handle(.worker("a", .result(result)))
      held += driver.takeAssignments("a")
    }
    #expect(held.count == 2)
    #expect(driver.core.audit() == [])
  }

  @Test func nothingIsGivenAheadThatAnotherWorkerMightWant() {
    let driver = CoreDriver()
    for name in ["a", "b"] { driver.hello(PeerID(Array(name.utf8)), makeHello(name, pipeline: pipeline, prefetch: 1)) }
    _ = driver.submit(3)
    #expect(driver.takeAssignments("a").count == 1 && driver.takeAssignments("b").count == 1)
    // Now two wait: one can be given ahead, and the last is for who is ready first.
    _ = driver.submit(1)
    #expect(driver.takeAssignments("a").count + driver.takeAssignments("b").count == 1)
  }

  @Test func whatWaitsForASlotIsNotStuck() throws {
    var limits = BrokerLimits()
    limits.stallMilliseconds = 10_000
    limits.leastStallMilliseconds = 10_000
    let driver = CoreDriver(limits)
    driver.hello("a", makeHello("a", pipeline: pipeline, prefetch: 1))
    _ = driver.submit(2)
    let given = driver.takeAssignments("a")
    let (first, second) = (try #require(given.first), try #require(given.last))
    func pass(_ seconds: Int, step: (Int) -> UInt32) {
      for second in 1...seconds {
        driver.pass(1_000)
        driver.handle(
          .worker("a", .beat(running: [TaskProgress(first.task, step: step(second)), TaskProgress(given[1].task, step: 0)])))
      }
    }
    pass(30) { UInt32($0 / 5) }
    #expect(driver.takeCommands("a").allSatisfy { $0 == .beat })
    driver.finish(first, at: "a", pipeline: pipeline)
    _ = driver.takeCommands("a")
    // It has a slot now.
    func wait(_ seconds: Int) {
      for _ in 0..<seconds {
        driver.pass(1_000, beating: "b")
        driver.handle(.worker("a", .beat(running: [TaskProgress(second.task, step: 0)])))
      }
    }
    driver.hello("b", makeHello("b", pipeline: pipeline))
    wait(9)
    #expect(driver.takeAssignments("b").isEmpty)
    wait(4)
    #expect(driver.takeAssignments("b").map(\.task.task) == [second.task.task])
  }

  @Test func aWorkerThatComesBackGoesOnWithWhatWaits() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, prefetch: 1))
    _ = driver.submit(2)
    let given = driver.takeAssignments("a")
    #expect(given.count == 2)
    driver.restart()
    driver.hello("a2", makeHello("a", pipeline: pipeline, prefetch: 1, running: given.map { TaskProgress($0.task, step: 0) }))
    #expect(!driver.takeCommands("a2").contains { if case .revoke = $0 { true } else { false } })
    for one in given { driver.finish(one, at: "a2", pipeline: pipeline) }
    #expect(driver.takeCommands("a2").count { if case .settled = $0 { true } else { false } } == 2)
  }

  @Test func whatWaitsStartsWithItsFirstStep() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, prefetch: 1))
    let job = driver.submit(2)
    let given = driver.takeAssignments("a")
    driver.handle(.worker("a", .progress(TaskProgress(given[0].task, step: 1), stepMilliseconds: 1)))
    driver.pass(900)
    driver.finish(given[0], at: "a", pipeline: pipeline)
    driver.handle(.worker("a", .progress(TaskProgress(given[1].task, step: 1), stepMilliseconds: 1)))
    guard case .history(let attempts) = driver.ask(.history(job, sample: 0)) else {
      Issue.record("no history")
      return
    }
    let started = attempts.map(\.startedUnixMilliseconds)
    #expect(started.count == 2 && started[1] >= started[0] + 900, "\(attempts)")
  }

  @Test func whatOnlyWaitedIsNotToBlameForItsWorkersEnd() throws {
    let driver = CoreDriver()
    driver.hello("a", makeHello("a", pipeline: pipeline, prefetch: 1))
    let job = driver.submit(2)
    let given = driver.takeAssignments("a")
    driver.handle(.worker("a", .progress(TaskProgress(given[0].task, step: 1), stepMilliseconds: 1)))
    driver.handle(.workerGone("a", reason: "gone"))
    driver.pass(10_000)
    #expect(driver.store.jobs[job]?.samples.map(\.failures) == [1, 0])
  }
}
