import Testing
import Wire
import Worker

@Suite struct TaskTests {
  @Test func keepsAResultUntilItIsSettled() throws {
    var harness = CoreHarness.live()
    _ = harness.command(.assign(assignment(ref(1))))
    let done = try result(ref(1))
    #expect(harness.handle(.compute(.finished(done, steps: 3))) == [.send(.result(done))])
    #expect(harness.core.running.isEmpty)
    // Asked again for what it has, it answers from memory.
    #expect(harness.command(.assign(assignment(ref(1)))) == [.send(.result(done))])
    _ = harness.command(.disconnect(reason: "restart"))
    _ = harness.wake()
    #expect(harness.welcome().sent.last == .result(done))
    #expect(harness.command(.settled(ref(1))).isEmpty)
    _ = harness.command(.disconnect(reason: "restart"))
    _ = harness.wake()
    #expect(!harness.welcome().sent.contains(.result(done)))
  }

  @Test func keepsAFailureUntilItIsSettled() {
    var harness = CoreHarness.live()
    _ = harness.command(.assign(assignment(ref(1))))
    let failure = WorkerMessage.failure(ref(1), reason: "bad", permanent: true)
    #expect(harness.handle(.compute(.failed(ref(1), reason: "bad", permanent: true))).sent == [failure])
    _ = harness.command(.disconnect(reason: "restart"))
    _ = harness.wake()
    #expect(harness.welcome().sent.last == failure)
  }

  @Test func aBrokerThatIsBackGetsACheckpointAtOnce() {
    var harness = CoreHarness.live(checkpoint: 2_000)
    _ = harness.command(.assign(assignment(ref(1))))
    _ = harness.command(.assign(assignment(ref(2))))
    _ = harness.command(.revoke(ref(2)))
    _ = harness.handle(.compute(.stepped([TaskProgress(ref(1), step: 1)], stepMilliseconds: 1)))
    _ = harness.command(.disconnect(reason: "restart"))
    _ = harness.wake()
    #expect(harness.welcome(checkpoint: 2_000).toCompute == [.checkpoint(ref(1))])
    _ = harness.command(.disconnect(reason: "restart"))
    _ = harness.wake()
    #expect(harness.welcome(checkpoint: 0).toCompute.isEmpty)
  }

  @Test func revokesAtTheNextStep() throws {
    var harness = CoreHarness.live()
    _ = harness.command(.assign(assignment(ref(1))))
    #expect(harness.command(.revoke(ref(1))) == [.compute(.drop(ref(1)))])
    #expect(harness.command(.revoke(ref(1))).isEmpty)
    #expect(harness.core.running.isEmpty)
    // The step it was in ended first.
    #expect(harness.handle(.compute(.stepped([TaskProgress(ref(1), step: 3)], stepMilliseconds: 1))).isEmpty)
    #expect(harness.handle(.compute(.finished(try result(ref(1)), steps: 3))).isEmpty)
    // And a result on its way is forgotten, too.
    _ = harness.command(.assign(assignment(ref(2))))
    _ = harness.handle(.compute(.finished(try result(ref(2)), steps: 3)))
    #expect(harness.command(.revoke(ref(2))).isEmpty)
    _ = harness.command(.disconnect(reason: ""))
    _ = harness.wake()
    #expect(harness.welcome().sent.count == 1)
  }

  @Test func aNewerAttemptReplacesAnOlder() {
    var harness = CoreHarness.live()
    _ = harness.command(.assign(assignment(ref(1))))
    let newer = assignment(ref(1, attempt: 2))
    #expect(harness.command(.assign(newer)).toCompute == [.drop(ref(1)), .start(newer)])
    #expect(harness.core.running == [TaskProgress(ref(1, attempt: 2), step: 0)])
  }

  @Test(arguments: [(2, 0), (1, 1)] as [(UInt32, UInt32)])
  func holdsNoMoreThanItsCredit(slots: UInt32, prefetch: UInt32) {
    var harness = CoreHarness.live(slots: slots, prefetch: prefetch)
    #expect(harness.command(.assign(assignment(ref(1)))).toCompute.count == 1)
    #expect(harness.command(.assign(assignment(ref(1)))).isEmpty)
    #expect(harness.command(.assign(assignment(ref(2)))).toCompute.count == 1)
    let refused = harness.command(.assign(assignment(ref(3))))
    guard case .failure(ref(3), let reason, permanent: false) = refused.sent.first else {
      Issue.record("\(refused)")
      return
    }
    #expect(reason.contains("\(slots) and \(prefetch) ahead"))
    #expect(refused.toCompute.isEmpty)
    // A revoked task gives its slot back at once.
    _ = harness.command(.revoke(ref(2)))
    #expect(harness.command(.assign(assignment(ref(3)))).toCompute.count == 1)
  }

  @Test func reportsProgressTenTimesASecond() {
    var harness = CoreHarness.live(dead: 60_000)
    _ = harness.command(.assign(assignment(ref(1), steps: 1000)))
    var sent: [WorkerMessage] = []
    for step in 1...1000 {
      harness.now += .milliseconds(2)
      sent += harness.handle(.compute(.stepped([TaskProgress(ref(1), step: UInt32(step))], stepMilliseconds: 2))).sent
    }
    #expect(sent.count == 20)
    #expect(sent.first == .progress(TaskProgress(ref(1), step: 1), stepMilliseconds: 2))
  }

  @Test func asksForCheckpointsAsOftenAsTheBrokerWants() throws {
    var harness = CoreHarness.live(dead: 60_000, checkpoint: 500)
    _ = harness.command(.assign(assignment(ref(1), steps: 1000)))
    var asked = 0
    for step in 1...1000 {
      harness.now += .milliseconds(2)
      let actions = harness.handle(.compute(.stepped([TaskProgress(ref(1), step: UInt32(step))], stepMilliseconds: 2)))
      guard actions.toCompute == [.checkpoint(ref(1))] else { continue }
      asked += 1
      let checkpoint = TaskCheckpoint(
        step: UInt32(step), tensors: [try WireTensor(name: "checkpoint.x", floats: [1], shape: [1])])
      #expect(harness.handle(.compute(.checkpoint(ref(1), checkpoint))).sent == [.checkpoint(ref(1), checkpoint)])
    }
    #expect(asked == 4)
  }

  @Test func sendsNoMoreCheckpointBytesThanTheBrokerWants() throws {
    var harness = CoreHarness(slots: 4)
    _ = harness.handle(.start)
    _ = harness.handle(.located(port: UInt32(CoreHarness.port)))
    let welcome = WorkerCommand.welcome(
      beatMilliseconds: 1_000, deadMilliseconds: 600_000, checkpointMilliseconds: 100, checkpointBytesPerSecond: 4_000)
    _ = harness.command(welcome)
    for sample in 1...4 as ClosedRange<UInt32> { _ = harness.command(.assign(assignment(ref(sample), steps: 10_000))) }
    let tensor = try WireTensor(name: "checkpoint.x", floats: [Float](repeating: 1, count: 250), shape: [250])
    var bytes: [UInt32: Int] = [:]
    for step in 1...1_000 as ClosedRange<UInt32> {
      harness.now += .milliseconds(10)
      let progress = (1...4 as ClosedRange<UInt32>).map { TaskProgress(ref($0), step: step) }
      for command in harness.handle(.compute(.stepped(progress, stepMilliseconds: 10))).toCompute {
        guard case .checkpoint(let task) = command else { continue }
        _ = harness.handle(.compute(.checkpoint(task, TaskCheckpoint(step: step, tensors: [tensor]))))
        bytes[task.task.sample, default: 0] += 1_000
      }
    }
    let total = bytes.values.reduce(0, +)
    #expect((36_000...44_000).contains(total), "\(total) bytes in 10 s at 4000 a second")
    #expect(bytes.count == 4 && (bytes.values.min() ?? 0) >= 5_000, "every task gets its turn: \(bytes)")
  }

  @Test func makesNoCheckpointsThatNobodyWants() {
    var harness = CoreHarness.live(dead: 600_000, checkpoint: 0)
    _ = harness.command(.assign(assignment(ref(1), steps: 1000)))
    for step in 1...100 {
      harness.now += .seconds(1)
      let actions = harness.handle(.compute(.stepped([TaskProgress(ref(1), step: UInt32(step))], stepMilliseconds: 2)))
      #expect(actions.toCompute.isEmpty)
    }
  }
}
