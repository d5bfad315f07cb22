import Testing
import Wire
import Worker

@Suite struct DrainTests {
  @Test(arguments: [true, false]) func handsBackWhatRuns(bySignal: Bool) throws {
    var harness = CoreHarness.live()
    _ = harness.command(.assign(assignment(ref(1))))
    let begun = bySignal ? harness.handle(.drain) : harness.command(.drain)
    #expect(begun.deeds == [.compute(.drain)])
    #expect(harness.handle(.drain).isEmpty)
    #expect(harness.command(.assign(assignment(ref(2)))).isEmpty)
    let checkpoint = TaskCheckpoint(step: 1, tensors: [try WireTensor(name: "checkpoint.x", floats: [1], shape: [1])])
    #expect(harness.handle(.compute(.checkpoint(ref(1), checkpoint))).sent == [.checkpoint(ref(1), checkpoint)])
    #expect(
      harness.handle(.compute(.drained)) == [.send(.goodbye(reason: "drained")), .hangUp, .leave(.drained)])
    #expect(harness.core.nextWake == nil)
    #expect(harness.handle(.tick).isEmpty)
  }

  @Test func waitsForItsResultsToBeSettled() throws {
    var harness = CoreHarness.live()
    _ = harness.command(.assign(assignment(ref(1))))
    _ = harness.handle(.compute(.finished(try result(ref(1)), steps: 3)))
    _ = harness.handle(.drain)
    #expect(harness.handle(.compute(.drained)).isEmpty)
    #expect(harness.command(.settled(ref(1))).last == .leave(.drained))
  }

  @Test func waitsNotForEver() throws {
    var harness = CoreHarness.live(dead: 60_000)
    _ = harness.command(.assign(assignment(ref(1))))
    _ = harness.handle(.compute(.finished(try result(ref(1)), steps: 3)))
    _ = harness.handle(.drain)
    _ = harness.handle(.compute(.drained))
    let began = harness.now
    while harness.wake().departure == nil {}
    #expect(harness.now - began == WorkerCore.settleTimeout)
  }

  @Test func leavesAtOnceWithoutABroker() {
    var harness = CoreHarness()
    _ = harness.handle(.start)
    #expect(harness.handle(.drain).deeds == [.hangUp, .leave(.drained)])
    #expect(harness.handle(.start).isEmpty)
  }

  @Test func leavesWhenTheBrokerGoesMeanwhile() {
    var harness = CoreHarness.live()
    _ = harness.command(.assign(assignment(ref(1))))
    _ = harness.handle(.drain)
    #expect(harness.command(.disconnect(reason: "stopping")).deeds == [.hangUp, .leave(.drained)])
  }
}
