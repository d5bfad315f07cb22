import Digests
import Wire
import ZeroMQ

/// One client and some workers on one thread. A task is finished when the broker says `settled`: its result is on disk.
actor Load {
  private let plan: BrokerLoad
  private let loop: SocketLoop
  private let context: Context
  private let client: Socket
  private var workers: [Socket] = []
  private let pipeline: PipelineInfo
  private let output: WireTensor
  private let digest: [UInt8]
  private var submitted = 0
  /// Tasks that are settled, or jobs that are accepted if that is all there is to be.
  private(set) var done = 0
  /// Jobs that the broker was too busy for.
  private(set) var refused = 0
  private var goal: (count: Int, reached: CheckedContinuation<Void, Never>)?

  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  init(_ plan: BrokerLoad, on loop: SocketLoop) throws {
    self.plan = plan
    self.loop = loop
    context = try Context()
    client = try Socket(context, .dealer, Self.options)
    let side = plan.resolution
    output = try WireTensor(name: "x0", floats: Array(repeating: 0.5, count: Int(3 * side * side)), shape: [3, side, side])
    digest = output.digest
    pipeline = PipelineInfo(
      name: "load", digest: sha256(Array("load \(side)".utf8)), labels: ["a"],
      stages: [StageInfo(name: "only", resolution: side, trainSteps: 1_000, defaultSteps: 1, defaultSampler: "ddpm")])
  }

  private static var options: SocketOptions {
    var options = SocketOptions()
    options.sendHighWaterMark = 100_000
    options.receiveHighWaterMark = 10_000
    return options
  }

  func start() throws {
    try client.connect(plan.clients)
    loop.add(client) { [weak self] in self?.assumeIsolated { $0.readClient() } }
    for number in 0..<plan.workerCount {
      let worker = try Socket(context, .dealer, Self.options)
      try worker.connect(plan.workers)
      let hello = WorkerHello(
        name: "load-\(number)", boot: UInt64(number) + 1, pipeline: pipeline, stage: "only", numerics: "load", slots: plan.slots,
        bytes: 1 << 30, host: "here", pid: 1, running: [])
      try worker.send(try WireCodec.encode(.hello(hello)))
      workers.append(worker)
      loop.add(worker) { [weak self] in self?.assumeIsolated { $0.readWorker(number) } }
    }
  }

  /// Returns once this many tasks are finished.
  func finished(_ count: Int) async {
    if done >= count { return }
    await withCheckedContinuation { goal = (count, $0) }
  }

  func stop() {
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
        case .accepted: if plan.queue > 0 { done += 1 }
        // It is submitted again when the next task is done.
        case .refused(let refusal) where refusal.code == .overloaded && plan.queue == 0:
          submitted -= plan.samplesPerJob
          refused += 1
        case .refused(let refusal): fatalError("the broker refuses: \(refusal)")
        default: break
        }
      }
      if plan.queue > 0 { try goOn() }
    }
  }

  private func readWorker(_ number: Int) {
    let socket = workers[number]
    must {
      for _ in 0..<256 {
        guard let frames = try socket.receive() else { break }
        switch try WireCodec.decodeWorkerCommand(frames) {
        case .welcome where plan.queue > 0: try socket.send(try WireCodec.encode(.goodbye(reason: "")))
        case .assign where plan.queue > 0, .welcome, .drain, .revoke: break
        case .beat: try socket.send(try WireCodec.encode(.beat(running: [])))
        case .assign(let assignment):
          try socket.send(
            try WireCodec.encode(.result(TaskResult(task: assignment.task, digest: digest, computeMilliseconds: 0, tensor: output))))
        case .settled: done += 1
        case .disconnect(let reason): fatalError("the broker sends worker \(number) away: \(reason)")
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
    while plan.queue == 0 ? submitted - done < plan.open : submitted < min(plan.queue, done + plan.open) {
      let count = plan.queue == 0 ? plan.samplesPerJob : 1
      let run = SampleRun(label: "a", seed: UInt64(submitted), count: UInt32(count))
      try client.send(try WireCodec.encode(.submit(Submission(pipeline: pipeline.name, runs: [run])), request: UInt64(submitted)))
      submitted += count
    }
  }

  /// A load that cannot go on has measured nothing.
  private func must(_ body: () throws -> Void) {
    do { try body() } catch { fatalError("\(error)") }
  }
}
