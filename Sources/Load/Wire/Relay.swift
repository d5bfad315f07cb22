import Digests
import Foundation
import Glibc
import Wire
import ZeroMQ

/// Tensors through a broker, from one stage's workers to the next one's: what it takes a fleet to hand on a result.
///
/// Workers of two stages and a client on one thread, whose tasks take no time. The first stage's outputs have the size that is measured, the second
/// one's are small. A tensor was handed on once the second stage's task is settled, which is when everything about it is on disk.
actor Relay {
  struct Plan: Sendable {
    /// Of the first stage's outputs: three planes of f32.
    var resolution: UInt32
    var tensors: Int
    var warmUp: Int
    /// Tensors on their way at a time: large ones fewer, or they would be in no processor's cache.
    var open: Int { min(Relay.inFlight, max(2, Relay.bytesInFlight / Int(12 * resolution * resolution))) }
  }

  static let inFlight = 128
  private static let bytesInFlight = 24 << 20
  private static let samplesPerJob = 16
  private static let smallResolution: UInt32 = 8

  private let plan: Plan
  private nonisolated let loop: SocketLoop
  private let context: Context
  private let client: Socket
  private var workers: [Socket] = []
  private let pipeline: PipelineInfo
  private let outputs: [(tensor: WireTensor, digest: [UInt8], checksum: UInt64)]
  private var submitted = 0
  private var done = 0
  private var goal: (count: Int, reached: CheckedContinuation<Void, Never>)?

  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  /// Of tensors a second through the broker at these endpoints, and what of a core that broker took.
  static func measure(_ plan: Plan, clients: String, workers: String, broker pid: Int32) async throws -> (rate: Double, cpu: Double) {
    let loop = try SocketLoop(name: "relay")
    defer { loop.stop() }
    let relay = try Relay(plan, on: loop)
    try await relay.start(clients: clients, workers: workers)
    await relay.finished(plan.warmUp)
    let before = (done: await relay.done, usage: ProcessUsage(of: pid), time: ContinuousClock.now)
    await relay.finished(before.done + plan.tensors)
    let count = await relay.done - before.done
    let seconds = (ContinuousClock.now - before.time) / .seconds(1)
    let cpu = (ProcessUsage(of: pid)?.processorSeconds ?? 0) - (before.usage?.processorSeconds ?? 0)
    await relay.stop()
    return (Double(count) / seconds, cpu / seconds)
  }

  private init(_ plan: Plan, on loop: SocketLoop) throws {
    self.plan = plan
    self.loop = loop
    context = try Context()
    client = try Socket(context, .dealer, Self.options)
    let sides = [plan.resolution, Self.smallResolution]
    var random = SystemRandomNumberGenerator()
    outputs = try sides.map { side in
      let count = Int(3 * side * side)
      let tensor = try WireTensor(
        name: "x0", floats: (0..<count).map { _ in Float.random(in: -1...1, using: &random) }, shape: [3, side, side])
      return (tensor, tensor.digest, tensor.checksum)
    }
    pipeline = PipelineInfo(
      name: "relay", digest: sha256(Array("relay \(plan.resolution)".utf8)), labels: ["a"],
      stages: zip(["large", "small"], sides).map {
        StageInfo(name: $0, resolution: $1, trainSteps: 1_000, defaultSteps: 1, defaultSampler: "ddpm")
      })
  }

  private static var options: SocketOptions {
    var options = SocketOptions()
    options.sendHighWaterMark = 10_000
    options.receiveHighWaterMark = 10_000
    return options
  }

  private func start(clients: String, workers endpoint: String) throws {
    try client.connect(clients)
    loop.add(client) { [weak self] in self?.assumeIsolated { $0.readClient() } }
    for (number, stage) in pipeline.stages.enumerated() {
      let worker = try Socket(context, .dealer, Self.options)
      try worker.connect(endpoint)
      let hello = WorkerHello(
        name: stage.name, boot: UInt64(number) + 1, pipeline: pipeline, stage: stage.name, numerics: "relay", slots: UInt32(plan.open),
        bytes: 1 << 32, host: "here", pid: UInt32(clamping: getpid()))
      try worker.send(try WireCodec.encode(.hello(hello)))
      workers.append(worker)
      loop.add(worker) { [weak self] in self?.assumeIsolated { $0.readWorker(number) } }
    }
  }

  private func finished(_ count: Int) async {
    if done >= count { return }
    await withCheckedContinuation { goal = (count, $0) }
  }

  private func stop() {
    for socket in [client] + workers {
      loop.remove(socket)
      socket.close()
    }
    context.terminate()
  }

  private func readClient() {
    must {
      while let frames = try client.receive() {
        switch try WireCodec.decodeClientReply(frames).1 {
        // The workers have not said hello yet.
        case .refused(let refusal) where refusal.code == .overloaded || refusal.code == .notReady: submitted -= Self.samplesPerJob
        case .refused(let refusal): throw Broken("the broker refuses: \(refusal)")
        default: break
        }
      }
    }
  }

  private func readWorker(_ number: Int) {
    let socket = workers[number]
    must {
      for _ in 0..<256 {
        guard let frames = try socket.receive() else { break }
        switch try WireCodec.decodeWorkerCommand(frames) {
        case .welcome, .drain, .revoke: break
        case .beat: try socket.send(try WireCodec.encode(.beat(running: [])))
        case .assign(let assignment):
          guard number == 0 || assignment.lowRes?.data.count == outputs[0].tensor.data.count else {
            throw Broken("a task of the second stage came without its input")
          }
          let output = outputs[number]
          try socket.send(
            try WireCodec.encode(
              .result(
                TaskResult(
                  task: assignment.task, digest: output.digest, computeMilliseconds: 0, checksum: output.checksum, tensor: output.tensor))))
        case .settled: if number == 1 { done += 1 }
        case .disconnect(let reason): throw Broken("the broker sends worker \(number) away: \(reason)")
        }
      }
      try goOn()
    }
  }

  private func goOn() throws {
    if let goal, done >= goal.count {
      self.goal = nil
      goal.reached.resume()
    }
    while submitted - done < 2 * plan.open {
      let run = SampleRun(label: "a", seed: UInt64(submitted), count: UInt32(Self.samplesPerJob))
      try client.send(try WireCodec.encode(.submit(Submission(pipeline: pipeline.name, runs: [run])), request: UInt64(submitted)))
      submitted += Self.samplesPerJob
    }
  }

  /// Who cannot go on has measured nothing.
  private func must(_ body: () throws -> Void) {
    do { try body() } catch { fatalError("\(error)") }
  }
}
