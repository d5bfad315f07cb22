import SeededRandom
import Testing
import Wire
import ZeroMQ

@Suite struct RoundTripTests {
  @Test func everyMessage() throws {
    for seed in 0..<200 as Range<UInt64> {
      var random = SplitMix64(seed: seed)
      for message in AnyMessage.oneOfEach(&random) {
        let frames = try message.encode()
        #expect(try AnyMessage.decode(frames, as: message.kind) == message, "seed \(seed)")
      }
    }
  }

  @Test func nobodyTakesAnothersMessage() throws {
    var random = SplitMix64(seed: 1)
    for message in AnyMessage.oneOfEach(&random) {
      let frames = try message.encode()
      for kind in AnyMessage.Kind.allCases where kind != message.kind {
        // A beat goes both ways. One that names no tasks is either's.
        if case .command(.beat) = message, kind == .worker { continue }
        if case .worker(.beat) = message, kind == .command { continue }
        #expect(#expect(throws: WireError.self) { try AnyMessage.decode(frames, as: kind) }?.code != nil, "\(message) as \(kind)")
      }
    }
  }

  @Test func largestTensor() throws {
    let side = UInt32(WireLimits.tensorBytes / 4 / 1024)
    let data = Frame(count: WireLimits.tensorBytes) { $0.initializeMemory(as: UInt8.self, repeating: 1) }
    let tensor = try WireTensor(name: "low_res", dtype: .f32, shape: [side, 1024], data: data)
    let command = WorkerCommand.assign(
      Assignment(
        task: TaskRef(TaskID(job: JobID(rawValue: 1), sample: 0, stage: 1), attempt: 1), label: 0, seed: 0, options: [],
        truncated: false, lowRes: tensor))
    let frames = try WireCodec.encode(command)
    // The very frame: no copy.
    #expect(frames[2] === data)
    guard case .assign(let assignment) = try WireCodec.decodeWorkerCommand(frames) else { throw Unexpected() }
    #expect(assignment.lowRes?.data === data)
  }

  struct Unexpected: Error {}

  @Test func lowResTravelsUnderItsName() throws {
    let x0 = try WireTensor(name: "x0", floats: [1, 2, 3], shape: [3, 1, 1])
    let command = WorkerCommand.assign(
      Assignment(
        task: TaskRef(TaskID(job: JobID(rawValue: 1), sample: 0, stage: 1), attempt: 1), label: 0, seed: 0, options: [],
        truncated: false, lowRes: x0, checkpoint: TaskCheckpoint(step: 0, tensors: [x0])))
    guard case .assign(let assignment) = try WireCodec.decodeWorkerCommand(try WireCodec.encode(command)) else { throw Unexpected() }
    #expect(assignment.lowRes?.name == "low_res")
    #expect(assignment.lowRes?.floats() == [1, 2, 3])
    #expect(assignment.checkpoint == nil)
  }

  // MARK: What doesn't fit

  @Test func longListsAreCut() throws {
    var random = SplitMix64(seed: 5)
    let details = (0..<5000).map { _ in AnyMessage.sampleStatus(&random) }
    var job = AnyMessage.jobStatus(&random)
    job.details = details
    let others = (0..<2000).map { _ in AnyMessage.jobStatus(&random) }
    let workers = (0..<3000).map { _ in AnyMessage.workerStatus(&random) }

    func sent(_ reply: ClientReply) throws -> ClientReply {
      let frames = try WireCodec.encode(reply, request: 1)
      #expect((60_000...WireLimits.envelopeBytes).contains(frames[0].count))
      return try WireCodec.decodeClientReply(frames).1
    }
    guard case .event(let cutEvent) = try sent(.event(job)) else { throw Unexpected() }
    #expect(cutEvent.details == Array(details.prefix(cutEvent.details.count)))
    guard case .jobs(let one) = try sent(.jobs([job])) else { throw Unexpected() }
    #expect(one[0] == cutEvent)
    guard case .jobs(let many) = try sent(.jobs(others)) else { throw Unexpected() }
    #expect(many.map(\.job) == others.prefix(many.count).map(\.job))
    guard case .workers(let some) = try sent(.workers(workers)) else { throw Unexpected() }
    #expect(some == Array(workers.prefix(some.count)))
  }

  @Test func textsAreCutAndNamesRefused() throws {
    let long = String(repeating: "漢", count: 5000)
    guard case .refused(let refusal) = try WireCodec.decodeClientReply(WireCodec.encode(.refused(Refusal(.invalid, long)), request: 1)).1
    else { throw Unexpected() }
    #expect(refusal.reason == String(repeating: "漢", count: WireLimits.textBytes / 3))
    guard case .goodbye(let reason) = try WireCodec.decodeWorkerMessage(WireCodec.encode(.goodbye(reason: "a\0b"))) else {
      throw Unexpected()
    }
    #expect(reason == "a b")

    func refusalCode(_ submission: Submission) -> WireError.Code? {
      #expect(throws: WireError.self) { try WireCodec.encode(.submit(submission), request: 1) }?.code
    }
    #expect(refusalCode(Submission(pipeline: long, runs: [])) == .tooLarge)
    #expect(refusalCode(Submission(runs: [SampleRun(label: "a\0", seed: 0)])) == .invalidField)
    #expect(refusalCode(Submission(runs: Array(repeating: SampleRun(label: "label", seed: .max), count: 10_000))) == .tooLarge)
  }

  @Test func tooManyTensorsAreRefused() throws {
    let tensor = try WireTensor(name: "checkpoint.x", floats: [], shape: [0])
    let task = TaskRef(TaskID(job: JobID(rawValue: 1), sample: 0, stage: 0), attempt: 1)
    func encode(_ count: Int) throws(WireError) -> [Frame] {
      try WireCodec.encode(.checkpoint(task, TaskCheckpoint(step: 1, tensors: Array(repeating: tensor, count: count))))
    }
    #expect(try encode(16).count == WireLimits.frames)
    #expect(#expect(throws: WireError.self) { try encode(17) }?.code == .tooLarge)
    let stranger = try tensor.named("x")
    #expect(
      #expect(throws: WireError.self) { try WireCodec.encode(.checkpoint(task, TaskCheckpoint(step: 1, tensors: [stranger]))) }?.code
        == .invalidTensor)
  }
}
