import Testing
import Wire
import Worker

@Suite struct OutboxTests {
  @Test func keepsTheLatestOfEachKindInOrder() throws {
    let state = TaskCheckpoint(step: 1, tensors: [try WireTensor(name: "checkpoint.x", floats: [1], shape: [1])])
    var outbox = Outbox()
    func progress(_ sample: UInt32, _ step: UInt32) -> WorkerMessage {
      .progress(TaskProgress(ref(sample), step: step), stepMilliseconds: 1)
    }
    outbox.add(.beat(running: []))
    outbox.add(progress(1, 1))
    outbox.add(progress(2, 1))
    outbox.add(.checkpoint(ref(1), state))
    outbox.add(progress(1, 2))
    outbox.add(.beat(running: [TaskProgress(ref(1), step: 2)]))
    outbox.add(.failure(ref(2), reason: "", permanent: false))
    outbox.add(.result(try result(ref(1))))
    outbox.add(.result(try result(ref(1))))
    #expect(
      outbox.messages == [
        progress(2, 1), progress(1, 2), .beat(running: [TaskProgress(ref(1), step: 2)]), .failure(ref(2), reason: "", permanent: false),
        .result(try result(ref(1))),
      ])
  }

  @Test func knowsWhenItIsTooFull() {
    var outbox = Outbox()
    for sample in 0..<UInt32(Outbox.limit) { outbox.add(.failure(ref(sample), reason: "", permanent: false)) }
    #expect(!outbox.isOverfull)
    outbox.add(.failure(ref(.max), reason: "", permanent: false))
    #expect(outbox.isOverfull)
  }
}
