import Testing
import Wire

@testable import Broker

/// Workers of several stages in one process, and of several speeds.
struct CrewTests {
  let pipeline = makePipeline()

  func finish(_ assignment: Assignment, at peer: PeerID, after milliseconds: Double, _ driver: CoreDriver) {
    var result = driver.result(assignment, pipeline: pipeline)
    result.computeMilliseconds = milliseconds
    driver.handle(.worker(peer, .result(result)))
  }

  /// Two processes that serve both stages.
  func makeDriver() -> CoreDriver {
    let driver = CoreDriver()
    for name in ["a", "b"] {
      for stage in 0..<2 {
        driver.hello(
          PeerID(Array("\(name)\(stage)".utf8)), makeHello(name, boot: UInt64(stage), pipeline: pipeline, stage: stage, slots: 4))
      }
    }
    return driver
  }

  @Test func aTaskGoesToTheProcessThatIsThroughSoonest() throws {
    let driver = makeDriver()
    _ = driver.submit(1)
    finish(try #require(driver.takeAssignments("a0").first), at: "a0", after: 10, driver)
    #expect(driver.takeAssignments("a1").count == 1)
    // The other stage of "a" has something to do.
    _ = driver.submit(1)
    let first = try #require(driver.takeAssignments("b0").first, "nobody knows how long that takes")
    finish(first, at: "b0", after: 10, driver)
    let second = try #require(driver.takeAssignments("b1").first)
    finish(second, at: "b1", after: 100, driver)
    // A task of the second stage, as "a" has one, takes as long as ten of the first.
    _ = driver.submit(4)
    #expect(driver.takeAssignments("a0").isEmpty && driver.takeAssignments("b0").count == 4)
    #expect(driver.core.audit() == [])
  }

  @Test func whoIsGoneKeepsNobodyBusy() throws {
    let driver = makeDriver()
    _ = driver.submit(2)
    finish(try #require(driver.takeAssignments("a0").first), at: "a0", after: 10, driver)
    finish(try #require(driver.takeAssignments("b0").first), at: "b0", after: 10, driver)
    finish(try #require(driver.takeAssignments("a1").first), at: "a1", after: 100, driver)
    #expect(driver.takeAssignments("b1").count == 1)
    driver.handle(.worker("b1", .goodbye(reason: "test")))
    #expect(driver.takeAssignments("a1").count == 1)
    _ = driver.submit(2)
    #expect(driver.takeAssignments("b0").count == 2)
  }

  /// So nobody's name, host and process number make another's tasks theirs.
  @Test func whoServesTheSameStageIsAnotherProcess() throws {
    let driver = CoreDriver()
    for number in 1...2 {
      driver.hello(PeerID(Array("\(number)".utf8)), makeHello("a", boot: UInt64(number), pipeline: pipeline, slots: 4))
    }
    _ = driver.submit(2)
    let (first, second) = (driver.takeAssignments("1"), driver.takeAssignments("2"))
    #expect(first.count == 1 && second.count == 1)
    finish(first[0], at: "1", after: 10, driver)
    _ = driver.submit(1)
    #expect(driver.takeAssignments("1").count == 1)
    driver.handle(.worker("1", .goodbye(reason: "test")))
    #expect(driver.takeAssignments("2").count == 1)
    #expect(driver.core.audit() == [])
  }

  @Test func aFasterWorkerGetsMore() {
    let driver = CoreDriver()
    for name in ["slow", "fast"] { driver.hello(PeerID(Array(name.utf8)), makeHello(name, pipeline: pipeline, slots: 16)) }
    _ = driver.submit(2)
    for one in driver.takeAssignments("slow") { finish(one, at: "slow", after: 90, driver) }
    for one in driver.takeAssignments("fast") { finish(one, at: "fast", after: 10, driver) }
    _ = driver.submit(10)
    #expect(driver.takeAssignments("slow").count == 1 && driver.takeAssignments("fast").count == 9)
  }
}
