import Testing
import Wire
import Worker
import ZeroMQ

/// A broker that does only what a test tells it to.
actor ScriptedBroker {
  struct Received: Sendable {
    var peer: Frame
    var message: WorkerMessage
  }

  private nonisolated let loop: SocketLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let context: Context
  private var clients: Socket?
  private var workers: Socket?
  private var port: UInt32 = 0
  private var inbox: [Received] = []
  private var reader: CheckedContinuation<Received, any Error>?

  init() throws {
    loop = try SocketLoop(name: "scripted-broker")
    context = try Context()
  }

  /// Binds free ports, answers `locate` from now on, and returns the public endpoint.
  func open() throws -> BrokerEndpoint {
    let clients = try Socket(context, .router)
    var options = SocketOptions()
    // All that a test sends, however late ZeroMQ hears that there is room again.
    options.sendHighWaterMark = 1_000
    let workers = try Socket(context, .router, options)
    try clients.bind("tcp://127.0.0.1:*")
    try workers.bind("tcp://127.0.0.1:*")
    let endpoint = try #require(BrokerEndpoint(try clients.lastEndpoint))
    port = UInt32(try #require(try workers.lastEndpoint.split(separator: ":").last.flatMap { UInt16($0) }))
    loop.add(clients) { [unowned self] in answerClients() }
    loop.add(workers) { [unowned self] in readWorkers() }
    self.clients = clients
    self.workers = workers
    return endpoint
  }

  nonisolated func close() {
    loop.stop()
    context.terminate()
  }

  private func answerClients() {
    while let clients, let frames = try? clients.receive(), let peer = frames.first {
      guard case (let request, .locate)? = try? WireCodec.decodeClientRequest(Array(frames.dropFirst())) else { continue }
      try? clients.send([peer] + WireCodec.encode(.located(workerPort: port), request: request))
    }
  }

  private func readWorkers() {
    while let workers, let frames = try? workers.receive(), let peer = frames.first {
      guard let message = try? WireCodec.decodeWorkerMessage(Array(frames.dropFirst())) else {
        Issue.record("a worker sent what cannot be read")
        continue
      }
      let received = Received(peer: peer, message: message)
      if let reader {
        self.reader = nil
        reader.resume(returning: received)
      } else {
        inbox.append(received)
      }
    }
  }

  func next() async throws -> Received {
    if !inbox.isEmpty { return inbox.removeFirst() }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { reader = $0 }
    } onCancel: {
      Task { await giveUp() }
    }
  }

  /// The test's time is up.
  private func giveUp() {
    reader?.resume(throwing: CancellationError())
    reader = nil
  }

  /// The next message that fits; others are passed over.
  func next<Value: Sendable>(_ fits: @Sendable (Received) -> Value?) async throws -> Value {
    while true {
      if let value = fits(try await next()) { return value }
    }
  }

  func nextHello() async throws -> (peer: Frame, hello: WorkerHello) {
    try await next { if case .hello(let hello) = $0.message { ($0.peer, hello) } else { nil } }
  }

  func nextResult() async throws -> TaskResult {
    try await next { if case .result(let result) = $0.message { result } else { nil } }
  }

  func send(_ command: WorkerCommand, to peer: Frame) throws {
    try #require(workers).send([peer] + WireCodec.encode(command))
  }

  func sendRaw(_ frames: [Frame], to peer: Frame) throws {
    try #require(workers).send([peer] + frames)
  }

  func welcome(_ peer: Frame, beat: UInt32 = 50, dead: UInt32 = 30_000, checkpoint: UInt32 = 0) throws {
    try send(.welcome(beatMilliseconds: beat, deadMilliseconds: dead, checkpointMilliseconds: checkpoint), to: peer)
  }
}
