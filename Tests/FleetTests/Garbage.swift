import Glibc
import SeededRandom
import Testing
import Wire
import ZeroMQ

/// A peer that sends nonsense.
struct Garbage {
  private let loop: SocketLoop
  private let context: Context
  private let seed: UInt64

  init(seed: UInt64) throws {
    loop = try SocketLoop(name: "garbage")
    context = try Context()
    self.seed = seed
  }

  /// Messages over ZeroMQ: random frames, too many frames, and proper messages cut short, with a byte changed, of the wrong role or about
  /// things that never were. Returns when they are all on their way.
  func send(to endpoint: String, messages: Int) async throws {
    let sender = Sender(loop: loop, context: context, seed: seed)
    try await sender.send(to: endpoint, count: messages)
    loop.stop()
    context.terminate()
  }

  /// Bytes over TCP that are not even ZeroMQ.
  func sendRaw(to endpoint: String, connections: Int) async throws {
    var random = SplitMix64(seed: seed)
    let port = try #require(endpoint.split(separator: ":").last.flatMap { UInt16($0) })
    for connection in 0..<connections {
      let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      try #require(descriptor >= 0)
      defer { close(descriptor) }
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr.s_addr = inet_addr("127.0.0.1")
      let connected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
      }
      try #require(connected == 0)
      var bytes = (0..<Int.random(in: 0...2000, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      // A ZMTP greeting with nonsense behind it.
      if connection % 2 == 0 { bytes = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0] + Array("NULL".utf8) + bytes }
      _ = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    }
  }
}

private actor Sender {
  private nonisolated let loop: SocketLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let context: Context
  private var random: SplitMix64
  private var socket: Socket?
  private var left = 0
  private var templates: [[Frame]] = []
  private var done: CheckedContinuation<Void, Never>?

  init(loop: SocketLoop, context: Context, seed: UInt64) {
    self.loop = loop
    self.context = context
    random = SplitMix64(seed: seed)
  }

  func send(to endpoint: String, count: Int) async throws {
    templates = try Self.makeTemplates()
    var options = SocketOptions()
    options.linger = .seconds(5)
    let socket = try Socket(context, .dealer, options)
    try socket.connect(endpoint)
    loop.add(socket) { [unowned self] in ignoreAnswers() }
    self.socket = socket
    left = count
    await withCheckedContinuation {
      done = $0
      pump()
    }
    loop.remove(socket)
    socket.close()
    self.socket = nil
  }

  private func ignoreAnswers() {
    while let socket, (try? socket.receive()) != nil {}
  }

  private func pump() {
    guard let socket else { return }
    while left > 0 {
      do {
        try socket.send(message())
        left -= 1
      } catch {
        return loop.onceWritable(socket) { [unowned self] in pump() }
      }
    }
    done?.resume()
    done = nil
  }

  private func bytes(_ range: ClosedRange<Int>) -> [UInt8] {
    (0..<Int.random(in: range, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
  }

  private func message() -> [Frame] {
    switch Int.random(in: 0..<5, using: &random) {
    case 0: return (0..<Int.random(in: 1...5, using: &random)).map { _ in Frame(bytes(0...200)) }
    case 1: return (0..<100).map { _ in Frame(bytes(0...3)) }
    case 2: return [Frame([UInt8](repeating: 0x0a, count: 100_000))]
    case 3:
      var frames = templates[Int.random(in: 0..<templates.count, using: &random)]
      var first = frames[0].bytes
      if Bool.random(using: &random) {
        first.removeLast(Int.random(in: 0...min(8, first.count), using: &random))
      } else if !first.isEmpty {
        first[Int.random(in: 0..<first.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      frames[0] = Frame(first)
      return frames
    default: return templates[Int.random(in: 0..<templates.count, using: &random)]
    }
  }

  /// Well-formed messages that make no sense where they arrive.
  private static func makeTemplates() throws -> [[Frame]] {
    let task = TaskRef(TaskID(job: JobID(rawValue: 1), sample: 0, stage: 0), attempt: 1)
    let tensor = try WireTensor(name: "x0", floats: [Float](repeating: .nan, count: 3 * 32 * 32), shape: [3, 32, 32])
    let state = try WireTensor(name: "checkpoint.x", floats: [1, 2, 3], shape: [3])
    let result = TaskResult(task: task, digest: [1, 2, 3], computeMilliseconds: .infinity, tensor: tensor)
    return [
      try WireCodec.encode(WorkerMessage.progress(TaskProgress(task, step: .max), stepMilliseconds: .nan)),
      try WireCodec.encode(WorkerMessage.checkpoint(task, TaskCheckpoint(step: 1, tensors: [state]))),
      try WireCodec.encode(WorkerMessage.result(result)),
      try WireCodec.encode(WorkerMessage.failure(task, reason: "no reason", permanent: true)),
      try WireCodec.encode(WorkerMessage.beat(running: [TaskProgress(task, step: 0)])),
      try WireCodec.encode(WorkerMessage.goodbye(reason: "never came")),
      try WireCodec.encode(WorkerCommand.settled(task)),
      try WireCodec.encode(WorkerCommand.drain),
      try WireCodec.encode(ClientReply.located(workerPort: 1), request: 5),
      try WireCodec.encode(ClientRequest.fetch(JobID(rawValue: 1), sample: .max), request: .max),
      try WireCodec.encode(ClientRequest.cancel(JobID(rawValue: 1)), request: 0),
      try WireCodec.encode(ClientRequest.submit(Submission(pipeline: "none", runs: [SampleRun(label: "", seed: 0)])), request: 1),
    ]
  }
}
