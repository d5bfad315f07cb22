import Testing
import Wire

@testable import Broker

struct WatchTests {
  let pipeline = makePipeline(stages: 1, steps: 100)

  @Test func eventsAreThrottledAndTheLastIsAlwaysSent() throws {
    let driver = CoreDriver()
    driver.hello("w0", makeHello("w0", pipeline: pipeline))
    let job = driver.submit()
    let assignment = try #require(driver.takeAssignments("w0").first)
    guard case .event(let snapshot) = driver.ask(.watch(job), number: 7) else {
      Issue.record("no snapshot")
      return
    }
    #expect(snapshot.state == .running && snapshot.labels == pipeline.labels && snapshot.details.count == 1)
    for step in 1...100 as ClosedRange<UInt32> {
      driver.pass(10)
      driver.handle(.worker("w0", .progress(TaskProgress(assignment.task, step: step), stepMilliseconds: 10)))
    }
    let events = driver.replies.filter { $0.request == 7 }
    #expect(events.count >= 8 && events.count <= 10, "a second of steps gave \(events.count) events")
    driver.finish(assignment, at: "w0", pipeline: pipeline)
    guard case .event(let last)? = driver.replies.last?.reply else {
      Issue.record("no last event")
      return
    }
    #expect(last.state == .done && last.details.count == 1)
    let count = driver.replies.count
    driver.pass(1_000)
    #expect(driver.replies.count == count, "nothing comes after the last")
    #expect(driver.core.watches.count == 0)
  }

  @Test func watchingAFinishedJobGivesItsEnd() {
    let driver = CoreDriver()
    driver.hello("w0", makeHello("w0", pipeline: pipeline))
    let job = driver.submit()
    driver.drain(["w0"], pipeline: pipeline)
    guard case .event(let status) = driver.ask(.watch(job)) else {
      Issue.record("no event")
      return
    }
    #expect(status.state == .done)
    #expect(driver.core.watches.count == 0)
    #expect(driver.refusal(.watch(JobID(rawValue: 9)))?.code == .notFound)
  }

  /// Only who is sent something is found to be gone.
  @Test func aQuietJobIsToldOfNowAndThen() {
    let driver = CoreDriver()
    driver.hello("w0", makeHello("w0", pipeline: pipeline))
    driver.handle(.worker("w0", .goodbye(reason: "")))
    let job = driver.submit()
    driver.ask(.watch(job), from: "here")
    driver.pass(29_000)
    #expect(driver.replies.isEmpty)
    driver.pass(60_000)
    #expect(driver.replies.count == 2 && driver.replies.allSatisfy { $0.peer == "here" })
    driver.handle(.clientGone("here"))
    driver.pass(60_000)
    #expect(driver.replies.count == 2)
  }

  @Test func oneClientDoesNotTakeAllWatches() {
    var limits = BrokerLimits()
    limits.maxWatchesPerClient = 2
    let driver = CoreDriver(limits)
    driver.hello("w0", makeHello("w0", pipeline: pipeline))
    let job = driver.submit()
    for number in 1...3 as ClosedRange<UInt64> { driver.ask(.watch(job), from: "greedy", number: number) }
    #expect(driver.core.watches.count == 2 && driver.core.watches.count(of: "greedy") == 2)
    guard case .event = driver.ask(.watch(job), from: "modest") else {
      Issue.record("another client cannot watch")
      return
    }
  }

  @Test func watchersThatVanishAreDropped() {
    var limits = BrokerLimits()
    limits.maxWatches = 3
    let driver = CoreDriver(limits)
    driver.hello("w0", makeHello("w0", pipeline: pipeline))
    let jobs = [driver.submit(), driver.submit()]
    for job in jobs { driver.ask(.watch(job), from: "gone", number: job.rawValue) }
    driver.ask(.watch(jobs[0]), from: "here")
    driver.ask(.watch(jobs[0]), from: "here")
    #expect(driver.core.watches.count == 3, "the same watch twice is one")
    #expect(driver.refusal(.watch(jobs[1]))?.code == .overloaded)
    driver.handle(.clientGone("gone"))
    #expect(driver.core.watches.count == 1)
    driver.drain(["w0"], pipeline: pipeline)
    #expect(driver.replies.allSatisfy { $0.peer != "gone" })
    #expect(driver.replies.contains { $0.peer == "here" })
  }
}
