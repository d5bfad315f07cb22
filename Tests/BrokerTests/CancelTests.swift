import Load
import Testing
import Wire

@testable import Broker

struct CancelTests {
  let pipeline = makePipeline()

  func counts(_ reply: ClientReply?) -> [UInt32]? {
    guard case .cancelled(let counts) = reply else { return nil }
    return [counts.queued, counts.stopped, counts.tooLate]
  }

  @Test func cancelTellsTheTruthAtEachPoint() throws {
    let driver = CoreDriver()
    driver.hello("w0", makeHello("w0", pipeline: pipeline, slots: 3))
    let job = driver.submit(5)
    var first = driver.takeAssignments("w0")
    driver.hello("w1", makeHello("w1", pipeline: pipeline, stage: 1))
    // Sample 0: finished. 1: in the second stage. 2: between the stages. 3 and 4: in the first stage.
    for _ in 0..<2 { driver.finish(first.removeFirst(), at: "w0", pipeline: pipeline) }
    driver.finish(try #require(driver.takeAssignments("w1").first), at: "w1", pipeline: pipeline)
    driver.finish(first.removeFirst(), at: "w0", pipeline: pipeline)
    let running = driver.takeAssignments("w0") + driver.takeAssignments("w1")
    #expect(Set(running.map(\.task.task.sample)) == [1, 3, 4])

    #expect(counts(driver.ask(.cancel(job))) == [1, 3, 1])
    let revoked = driver.commands.compactMap { if case .revoke(let task) = $0.command { task } else { nil } }
    #expect(Set(revoked) == Set(running.map(\.task)))
    let status = try #require(driver.status(job))
    #expect(status.state == .cancelled)
    #expect(status.details.map(\.state) == [.done, .cancelled, .cancelled, .cancelled, .cancelled])
    guard case .image = driver.ask(.fetch(job, sample: 0)) else {
      Issue.record("what was finished stays")
      return
    }
    #expect(driver.refusal(.fetch(job, sample: 1))?.reason.contains("cancelled") == true)
    #expect(driver.store.outputs.count == 1 && driver.store.checkpoints.isEmpty)

    // A result that was on its way is dropped, and the worker may forget it.
    driver.finish(running[0], at: running[0].task.task.stage == 0 ? "w0" : "w1", pipeline: pipeline)
    #expect(driver.commands.contains { $0.command == .settled(running[0].task) })
    #expect(driver.status(job) == status)
    // The first answer may have been lost.
    #expect(counts(driver.ask(.cancel(job))) == [1, 3, 1])
  }

  @Test func slotsOfACancelledJobAreFreeAtOnce() {
    let driver = CoreDriver()
    driver.hello("w0", makeHello("w0", pipeline: pipeline, slots: 2))
    let first = driver.submit(4)
    let second = driver.submit(2)
    _ = driver.takeCommands("w0")
    driver.ask(.cancel(first))
    let commands = driver.takeCommands("w0")
    #expect(commands.prefix(2).allSatisfy { if case .revoke = $0 { true } else { false } }, "they stop before others start")
    #expect(commands.dropFirst(2).allSatisfy { if case .assign(let it) = $0 { it.task.task.job == second } else { false } })
    #expect(commands.count == 4)
  }

  @Test func cancelOfAFinishedOrUnknownJob() {
    let driver = CoreDriver()
    driver.hello("w0", makeHello("w0", pipeline: pipeline))
    driver.hello("w1", makeHello("w1", pipeline: pipeline, stage: 1))
    let job = driver.submit(2)
    driver.drain(["w0", "w1"], pipeline: pipeline)
    #expect(counts(driver.ask(.cancel(job))) == [0, 0, 2])
    #expect(driver.status(job)?.state == .done)
    #expect(driver.refusal(.cancel(JobID(rawValue: 3)))?.code == .notFound)
  }

  @Test func aCancelledJobStaysCancelledAfterARestart() {
    let driver = CoreDriver()
    driver.hello("w0", makeHello("w0", pipeline: pipeline))
    let job = driver.submit(2)
    driver.ask(.cancel(job))
    driver.restart()
    #expect(driver.status(job)?.state == .cancelled)
    driver.hello("w0", makeHello("w0", pipeline: pipeline))
    #expect(driver.takeAssignments("w0").isEmpty)
    driver.pass(6_000, beating: "w0")
    #expect(driver.takeAssignments("w0").isEmpty)
  }
}
