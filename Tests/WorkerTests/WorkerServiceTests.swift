import Dispatch
import Logging
import SeededRandom
import Testing
import Wire
import Worker
import ZeroMQ

@Suite(.timeLimit(.minutes(1))) struct WorkerServiceTests {
  private func makeWorker(
    _ endpoint: BrokerEndpoint, slots: Int? = 2, connectTimeout: Duration? = nil,
    engine: @escaping @Sendable () throws -> any Engine = { try SyntheticEngine(stage: "base32", stepMilliseconds: 1) },
    onReady: @escaping @Sendable (EngineInfo) -> Void = { _ in }
  ) async throws -> WorkerService {
    try await WorkerService.make(
      settings: .init(broker: endpoint, name: "test", host: "here", pid: 1, slots: slots, connectTimeout: connectTimeout),
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, makeEngine: engine, onReady: onReady)
  }

  /// Runs a worker beside the script; the script has to drain it.
  private func withWorker(
    _ worker: WorkerService, _ broker: ScriptedBroker, _ script: () async throws -> Void
  ) async throws {
    defer { broker.close() }
    async let run: Void = worker.run()
    try await script()
    try await run
  }

  @Test func worksFromLocateToGoodbye() async throws {
    let broker = try ScriptedBroker()
    let endpoint = try await broker.open()
    let (ready, sink) = AsyncStream.makeStream(of: EngineInfo.self)
    let worker = try await makeWorker(endpoint, onReady: { sink.yield($0) })
    try await withWorker(worker, broker) {
      let (peer, hello) = try await broker.nextHello()
      #expect(hello.pipeline == SyntheticEngine.pipeline && hello.stage == "base32" && hello.slots == 2 && hello.running.isEmpty)
      try await broker.welcome(peer)
      var readies = ready.makeAsyncIterator()
      #expect(await readies.next()?.stageName == "base32")
      let tasks = (0..<2).map { ref(UInt32($0)) }
      for (index, task) in tasks.enumerated() {
        try await broker.send(.assign(assignment(task, label: 1, seed: UInt64(index), steps: 5)), to: peer)
      }
      var results: [TaskRef: WireTensor] = [:]
      for _ in tasks {
        let result = try await broker.nextResult()
        results[result.task] = result.tensor
        try await broker.send(.settled(result.task), to: peer)
      }
      for (index, task) in tasks.enumerated() {
        let expected = try SyntheticEngine.reference(
          label: 1, seed: UInt64(index), options: [StageOptions(stage: "base32", steps: 5)], stage: 0)
        #expect(results[task] == expected)
      }
      try await broker.send(.drain, to: peer)
      try await broker.next { if case .goodbye = $0.message { () } else { nil } }
    }
  }

  @Test func withoutAWishItOffersTheSlotsItsEngineAsksFor() async throws {
    let broker = try ScriptedBroker()
    let endpoint = try await broker.open()
    let worker = try await makeWorker(endpoint, slots: nil)
    try await withWorker(worker, broker) {
      let (peer, hello) = try await broker.nextHello()
      #expect(hello.slots == 4 && hello.bytes > 0)
      try await broker.welcome(peer)
      try await broker.send(.drain, to: peer)
    }
  }

  @Test func comesBackOnANewSocketWithWhatItOwes() async throws {
    let broker = try ScriptedBroker()
    let endpoint = try await broker.open()
    let worker = try await makeWorker(endpoint)
    try await withWorker(worker, broker) {
      let (peer, first) = try await broker.nextHello()
      try await broker.welcome(peer)
      try await broker.send(.assign(assignment(ref(1))), to: peer)
      let result = try await broker.nextResult()
      try await broker.send(.disconnect(reason: "who are you?"), to: peer)
      let (newPeer, second) = try await broker.nextHello()
      #expect(newPeer != peer)
      #expect(second.boot == first.boot)
      #expect(second.running.map(\.task) == [ref(1)] && second.running.map(\.step) == [3])
      try await broker.welcome(newPeer)
      #expect(try await broker.nextResult() == result)
      try await broker.send(.settled(ref(1)), to: newPeer)
      try await broker.send(.drain, to: newPeer)
      try await broker.next { if case .goodbye = $0.message { () } else { nil } }
    }
  }

  @Test func dialsAgainWhenTheBrokerFallsSilent() async throws {
    let broker = try ScriptedBroker()
    let endpoint = try await broker.open()
    let worker = try await makeWorker(endpoint)
    try await withWorker(worker, broker) {
      let (peer, _) = try await broker.nextHello()
      try await broker.welcome(peer, dead: 100)
      let (newPeer, _) = try await broker.nextHello()
      #expect(newPeer != peer)
      try await broker.welcome(newPeer)
      try await broker.send(.drain, to: newPeer)
    }
  }

  @Test func garbageDoesNotStopIt() async throws {
    let broker = try ScriptedBroker()
    let endpoint = try await broker.open()
    let worker = try await makeWorker(endpoint)
    try await withWorker(worker, broker) {
      let (peer, _) = try await broker.nextHello()
      try await broker.welcome(peer, beat: 10)
      var random = SplitMix64(seed: 3)
      let valid = try WireCodec.encode(.assign(assignment(ref(9))))
      for _ in 0..<50 {
        let length = Int.random(in: 0..<300, using: &random)
        let noise = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
        try? await broker.sendRaw([Frame(noise)], to: peer)
        try? await broker.sendRaw([Frame(Array(valid[0].bytes.dropLast(length % 20 + 1)))], to: peer)
        try await broker.send(.beat, to: peer)
        _ = try await broker.next { if case .beat = $0.message { () } else { nil } }
      }
      try await broker.send(.assign(assignment(ref(1))), to: peer)
      #expect(try await broker.nextResult().task == ref(1))
      try await broker.send(.settled(ref(1)), to: peer)
      try await broker.send(.drain, to: peer)
    }
  }

  @Test func beatsWhileAStepTakesLong() async throws {
    let broker = try ScriptedBroker()
    let endpoint = try await broker.open()
    let gate = DispatchSemaphore(value: 0)
    let worker = try await makeWorker(endpoint) { try GatedEngine(gate) }
    try await withWorker(worker, broker) {
      let (peer, _) = try await broker.nextHello()
      try await broker.welcome(peer, beat: 10)
      try await broker.send(.assign(assignment(ref(1), steps: 1)), to: peer)
      var beats = 0
      while beats < 10 {
        let running = try await broker.next { if case .beat(let running) = $0.message { running } else { nil } }
        if running == [TaskProgress(ref(1), step: 0)] { beats += 1 }
      }
      gate.signal()
      _ = try await broker.nextResult()
      try await broker.send(.settled(ref(1)), to: peer)
      try await broker.send(.drain, to: peer)
    }
  }

  @Test func handsBackACheckpointWhenDrained() async throws {
    let broker = try ScriptedBroker()
    let endpoint = try await broker.open()
    let worker = try await makeWorker(endpoint)
    try await withWorker(worker, broker) {
      let (peer, _) = try await broker.nextHello()
      try await broker.welcome(peer)
      let work = assignment(ref(1), label: 4, seed: 4, steps: 1000)
      try await broker.send(.assign(work), to: peer)
      try await broker.next { if case .progress = $0.message { () } else { nil } }
      try await broker.send(.drain, to: peer)
      let checkpoint = try await broker.next { if case .checkpoint(ref(1), let state) = $0.message { state } else { nil } }
      try await broker.next { if case .goodbye = $0.message { () } else { nil } }
      let engine = try SyntheticEngine(stage: "base32", stepMilliseconds: 0)
      var rest = work
      rest.checkpoint = checkpoint
      let run = try engine.begin(rest)
      #expect(run.step == Int(checkpoint.step) && run.step > 0)
      while run.step < run.steps { try engine.advance([run]) }
      #expect(
        try run.result() == SyntheticEngine.reference(label: 4, seed: 4, options: work.options, stage: 0))
    }
  }

  @Test func givesUpWithoutABroker() async throws {
    // A port that was free a moment ago.
    let broker = try ScriptedBroker()
    let endpoint = try await broker.open()
    broker.close()
    let worker = try await makeWorker(endpoint, connectTimeout: .milliseconds(200))
    await #expect {
      try await worker.run()
    } throws: { error in
      (error as? WorkerError)?.code == .brokerUnreachable && "\(error)".contains("no broker at \(endpoint)")
    }
  }
}

/// Holds each step until the test lets it go.
private final class GatedEngine: Engine {
  private let inner: SyntheticEngine
  private let gate: DispatchSemaphore

  init(_ gate: DispatchSemaphore) throws {
    inner = try SyntheticEngine(stage: "base32", stepMilliseconds: 0)
    self.gate = gate
  }

  var info: EngineInfo { inner.info }

  func begin(_ assignment: Assignment) throws -> any TaskRun { try inner.begin(assignment) }

  func advance(_ runs: [any TaskRun]) throws {
    gate.wait()
    try inner.advance(runs)
  }
}
