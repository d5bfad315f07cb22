import Broker
import Client
import Foundation
import Logging
import Wire
import Worker
import ZeroMQ

/// Makes a corpus: a fleet in this process, with small tensors, that says everything there is to say, and what stands between its sockets.
package enum Recording {
  private static let pipeline = PipelineInfo(
    name: "tiny", digest: [UInt8](repeating: 7, count: 32), labels: ["clay", "impossible"],
    stages: [
      StageInfo(name: "small", resolution: 2, trainSteps: 1_000, defaultSteps: 4, defaultSampler: "ddpm"),
      StageInfo(name: "large", resolution: 4, trainSteps: 1_000, defaultSteps: 4, defaultSampler: "ddim", defaultAug: 3, takesAug: true),
    ])
  private static let slowSteps: UInt32 = 1_000

  package static func record() async throws -> Corpus {
    let folder = FileManager.default.temporaryDirectory.appending(path: "weir-record-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let silent = Logger(label: "record") { _ in SwiftLogNoOpLogHandler() }
    let loop = try SocketLoop(name: "record")
    defer { loop.stop() }
    var limits = BrokerLimits()
    limits.beatMilliseconds = 50
    limits.checkpointMilliseconds = 20
    let broker = BrokerService(
      BrokerConfiguration(clients: try BindAddress("tcp://127.0.0.1:*"), dataDirectory: folder, limits: limits), on: loop, logger: silent)
    let endpoints = try await broker.start()
    let tap = try WireTap(on: loop)
    let address = try await tap.listen(before: endpoints)
    guard let endpoint = BrokerEndpoint(address) else { throw Broken("\(address) is no endpoint") }
    var workers: [WorkerService] = []
    for stage in pipeline.stages {
      workers.append(
        try await WorkerService.make(
          settings: .init(broker: endpoint, name: "\(stage.name)-1", host: "here", pid: 1, slots: 4), logger: silent,
          makeEngine: { try PickyEngine(stage: stage.name) }, onReady: { _ in }))
    }
    let running = workers
    try await withThrowingTaskGroup { group in
      for worker in running { group.addTask { try await worker.run() } }
      let client = try WeirClient(broker: address)
      try await sayEverything(client, tap)
      try await tap.drainWorkers()
      for try await _ in group {}
      await client.close()
    }
    await broker.stop()
    return await tap.stop()
  }

  private static func sayEverything(_ client: WeirClient, _ tap: WireTap) async throws {
    while try await client.workers().count < pipeline.stages.count { try await Task.sleep(for: .milliseconds(20)) }
    let options = [StageOptions(stage: "", steps: 6), StageOptions(stage: "large", sampler: "ddim", eta: 0.5, aug: 9)]
    // A plain one.
    let plain = try await client.submit(
      Submission(
        pipeline: "tiny", runs: [SampleRun(label: "clay", seed: 7, count: 5)], options: options, tenant: "alice", priority: .high,
        deadlineMilliseconds: 600_000)
    ).job
    for try await _ in client.watch(plain) {}
    _ = try await client.fetch(plain, sample: 1)
    _ = try await client.history(of: plain)
    _ = try await client.status(of: plain)
    // One that waits for a choice.
    let held = try await client.submit(Submission(runs: [SampleRun(label: "clay", seed: 9, count: 3)], holdAfter: "small")).job
    for try await status in client.watch(held) where status.state == .held { break }
    _ = try await client.fetch(held, sample: 0, stage: "small")
    _ = try await client.release(held, keep: [0, 2])
    for try await _ in client.watch(held) {}
    // One that is cancelled at work, after checkpoints.
    let slow = try await client.submit(
      Submission(runs: [SampleRun(label: "0", seed: 1, count: 2)], options: [StageOptions(stage: "small", steps: slowSteps)])
    ).job
    for try await status in client.watch(slow) where (status.stages.first?.stepsDone ?? 0) > 80 { break }
    _ = try await client.cancel(slow)
    // One that cannot be done.
    let failing = try await client.submit(Submission(runs: [SampleRun(label: "impossible", seed: 1, count: 2)], truncated: true)).job
    for try await _ in client.watch(failing) {}
    _ = try await client.deadJobs()
    _ = try await client.retry(failing, samples: [1])
    for try await _ in client.watch(failing) {}
    // And what is refused.
    _ = try? await client.submit(Submission(pipeline: "unknown", runs: [SampleRun(label: "clay", seed: 1)]))
    _ = try? await client.status(of: JobID(rawValue: 1))
    _ = try await client.jobs()
    try await tap.sendNonsense()
  }

  /// The synthetic engine, which fails at a label.
  private final class PickyEngine: Engine {
    private let engine: SyntheticEngine

    init(stage: String) throws { engine = try SyntheticEngine(stage: stage, of: pipeline, stepMilliseconds: 2) }

    var info: EngineInfo { engine.info }

    func begin(_ assignment: Assignment) throws -> any TaskRun {
      if assignment.label == 1 { throw EngineError(.invalidTask, "this label is impossible") }
      return try engine.begin(assignment)
    }

    func advance(_ runs: [any TaskRun]) throws { try engine.advance(runs) }
  }
}

/// Stands between a broker and its peers, passes on what they say, and keeps it.
actor WireTap {
  private struct Line {
    let socket: Socket
    let isWorker: Bool
  }

  /// The peer in whose name the tap itself speaks.
  private static let nobody = Frame([])

  private nonisolated let loop: SocketLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let context: Context
  private var corpus = Corpus()
  private var fronts: [Socket] = []
  private var lines: [Frame: Line] = [:]
  private var workerPort: UInt32 = 0
  private var brokerWorkers = ""
  private var nonsense: CheckedContinuation<Void, Never>?

  init(on loop: SocketLoop) throws {
    self.loop = loop
    context = try Context()
  }

  /// - Returns: the endpoint to take for the broker's.
  func listen(before broker: BrokerService.Endpoints) throws -> String {
    for (index, endpoint) in [broker.clients, broker.workers].enumerated() {
      let front = try Socket(context, .router)
      try front.bind("tcp://127.0.0.1:*")
      fronts.append(front)
      loop.add(front) { [unowned self] in assumeIsolated { $0.passOn(index, endpoint) } }
    }
    brokerWorkers = broker.workers
    workerPort = try UInt32(BindAddress(try fronts[1].lastEndpoint).port)
    return try fronts[0].lastEndpoint
  }

  /// From a peer to the broker.
  private func passOn(_ side: Int, _ endpoint: String) {
    while var frames = try? fronts[side].receive(), !frames.isEmpty {
      let peer = frames.removeFirst()
      corpus.note(frames, side == 0 ? .request : .worker)
      do {
        try line(of: peer, side, endpoint).send(frames)
      } catch {
        continue
      }
    }
  }

  private func line(of peer: Frame, _ side: Int, _ endpoint: String) throws -> Socket {
    if let line = lines[peer] { return line.socket }
    let socket = try Socket(context, .dealer)
    try socket.connect(endpoint)
    lines[peer] = Line(socket: socket, isWorker: side == 1)
    loop.add(socket) { [unowned self] in assumeIsolated { $0.passBack(peer) } }
    return socket
  }

  /// From the broker to a peer, which must not learn of the broker's own port.
  private func passBack(_ peer: Frame) {
    guard let line = lines[peer] else { return }
    let side = line.isWorker ? 1 : 0
    while var frames = try? line.socket.receive(), !frames.isEmpty {
      if side == 0, case (let request, .located)? = try? WireCodec.decodeClientReply(frames) {
        frames = (try? WireCodec.encode(.located(workerPort: workerPort), request: request)) ?? frames
      }
      corpus.note(frames, side == 0 ? .reply : .command)
      if peer.count == 0 {
        nonsense?.resume()
        nonsense = nil
      } else {
        try? fronts[side].send([peer] + frames)
      }
    }
  }

  /// Has the broker send a stranger away.
  func sendNonsense() async throws {
    let socket = try Socket(context, .dealer)
    try socket.connect(brokerWorkers)
    lines[Self.nobody] = Line(socket: socket, isWorker: true)
    loop.add(socket) { [unowned self] in assumeIsolated { $0.passBack(Self.nobody) } }
    try socket.send([Frame([0xFF])])
    await withCheckedContinuation { nonsense = $0 }
  }

  /// Sends every worker home, as a broker may.
  func drainWorkers() throws {
    let drain = try WireCodec.encode(.drain)
    corpus.note(drain, .command)
    for (peer, line) in lines where line.isWorker && peer.count > 0 { try fronts[1].send([peer] + drain) }
  }

  func stop() -> Corpus {
    for socket in fronts + lines.values.map(\.socket) {
      loop.remove(socket)
      socket.close()
    }
    context.terminate()
    return corpus
  }
}
