import Wire
import ZeroMQ

@testable import Broker

struct NoAnswer: Error {}

/// A client and workers on plain sockets, all on the test's own thread. Waiting for one lets the others work.
final class TestPeers {
  private struct TestWorker {
    let socket: Socket
    let pipeline: PipelineInfo
    let stage: Int
  }

  private let context: Context
  private let endpoints: BrokerService.Endpoints
  let client: Socket
  private var workers: [TestWorker] = []
  private var sockets: [Socket] = []
  private var nextRequest: UInt64 = 1
  private let deadline = ContinuousClock.now + .seconds(60)

  init(_ endpoints: BrokerService.Endpoints) throws {
    self.endpoints = endpoints
    context = try Context()
    client = try Socket(context, .dealer)
    try client.connect(endpoints.clients)
    sockets.append(client)
  }

  func close() {
    for socket in sockets { socket.close() }
    context.terminate()
  }

  func dial(_ endpoint: String) throws -> Socket {
    let socket = try Socket(context, .dealer)
    try socket.connect(endpoint)
    sockets.append(socket)
    return socket
  }

  func addWorker(_ hello: WorkerHello) {
    do {
      let worker = TestWorker(
        socket: try dial(endpoints.workers), pipeline: hello.pipeline,
        stage: hello.pipeline.stages.firstIndex { $0.name == hello.stage } ?? 0)
      workers.append(worker)
      try worker.socket.send(try WireCodec.encode(.hello(hello)))
      // The broker knows it when it has said welcome.
      guard case .welcome = try nextCommand(worker.socket) else { throw NoAnswer() }
    } catch {
      fatalError("\(error)")
    }
  }

  /// False if the socket's queue is full.
  func trySend(_ request: ClientRequest) -> Bool {
    do {
      try client.send(try WireCodec.encode(request, request: nextRequest))
      nextRequest += 1
      return true
    } catch {
      return false
    }
  }

  func ask(_ request: ClientRequest) throws -> ClientReply {
    let number = nextRequest
    while !trySend(request) { try letWorkersWork() }
    while true {
      if let frames = try client.receive() {
        let (answered, reply) = try WireCodec.decodeClientReply(frames)
        if answered == number { return reply }
      }
      try letWorkersWork()
    }
  }

  func nextReply() throws -> ClientReply {
    while true {
      if let frames = try client.receive() { return try WireCodec.decodeClientReply(frames).1 }
      try letWorkersWork()
    }
  }

  /// The status at the job's end.
  func watch(_ job: JobID) throws -> JobStatus {
    guard case .event(var status) = try ask(.watch(job)) else { throw NoAnswer() }
    while !status.state.isFinal {
      if case .event(let next) = try nextReply() { status = next }
    }
    return status
  }

  func nextCommand(_ socket: Socket) throws -> WorkerCommand {
    while true {
      if let frames = try socket.receive() { return try WireCodec.decodeWorkerCommand(frames) }
      try letWorkersWork(except: socket)
    }
  }

  private func letWorkersWork(except other: Socket? = nil) throws {
    guard ContinuousClock.now < deadline else { throw NoAnswer() }
    for worker in workers where worker.socket !== other {
      while let frames = try worker.socket.receive() {
        guard case .assign(let assignment) = try WireCodec.decodeWorkerCommand(frames) else { continue }
        var state = Oracle.begin(label: assignment.label, seed: assignment.seed, stage: worker.stage, input: assignment.lowRes)
        for step in 1...(assignment.options[worker.stage].steps ?? 1) { state = Oracle.step(state, step) }
        let output = Oracle.output(state, resolution: worker.pipeline.stages[worker.stage].resolution)
        let result = TaskResult(task: assignment.task, digest: output.digest, computeMilliseconds: 1, tensor: output)
        let frames = try WireCodec.encode(.result(result))
        while true {
          do throws(ZeroMQError) {
            try worker.socket.send(frames)
            break
          } catch {
            guard error.code == .wouldBlock, ContinuousClock.now < deadline else { throw error }
          }
        }
      }
    }
  }
}
