import ZeroMQ

/// A socket on a loop, seen from a test.
actor TestPeer {
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  private let loop: SocketLoop
  private let socket: Socket
  private var inbox: [Result<[Frame], ZeroMQError>] = []
  private var waiting: CheckedContinuation<Result<[Frame], ZeroMQError>, Never>?

  /// - Parameters:
  ///   - reads: whether it reads what arrives.
  ///   - failures: gets why its own handshakes failed.
  ///   - peerFailures: gets whose handshakes with it failed, and why.
  init(
    _ loop: SocketLoop, _ context: Context, _ type: SocketType, _ options: SocketOptions = SocketOptions(), bind: String? = nil,
    connect: String? = nil, reads: Bool = true, failures: AsyncStream<HandshakeFailure>.Continuation? = nil,
    peerFailures: AsyncStream<(String?, HandshakeFailure)>.Continuation? = nil
  ) async throws {
    self.loop = loop
    socket = try Socket(context, type, options)
    if let failures { try loop.onHandshakeFailure(of: socket) { failures.yield($0) } }
    if let peerFailures { try loop.onPeerFailure(of: socket) { peerFailures.yield(($0, $1)) } }
    if let bind { try socket.bind(bind) }
    if let connect { try socket.connect(connect) }
    if reads { start() }
  }

  /// Begins to read.
  func start() {
    loop.add(socket) { [weak self] in self?.assumeIsolated { $0.drain() } }
  }

  private func drain() {
    assertIsolated()
    while true {
      let message: Result<[Frame], ZeroMQError>
      do throws(ZeroMQError) {
        guard let frames = try socket.receive() else { return }
        message = .success(frames)
      } catch {
        message = .failure(error)
      }
      if let waiting {
        self.waiting = nil
        waiting.resume(returning: message)
      } else {
        inbox.append(message)
      }
    }
  }

  var lastSender: CurvePublicKey? { socket.lastSender }
  var lastAddress: String { socket.lastAddress }

  /// Messages that arrived and nobody asked for.
  var unread: Int { inbox.count }

  var endpoint: String { get throws { try socket.lastEndpoint } }

  func send(_ frames: [Frame]) throws(ZeroMQError) { try socket.send(frames) }

  func send(_ texts: String...) throws(ZeroMQError) { try socket.send(texts.map { Frame(Array($0.utf8)) }) }

  /// Sends `frames` until there is no more room; how often it went.
  func sendUntilFull(_ frames: [Frame], atMost limit: Int) throws(ZeroMQError) -> Int {
    for count in 0..<limit {
      do throws(ZeroMQError) {
        try socket.send(frames)
      } catch  where error.code == .wouldBlock {
        return count
      }
    }
    return limit
  }

  /// Waits until a `send` wouldn't throw `.wouldBlock`.
  func writable() async {
    await withCheckedContinuation { continuation in
      loop.onceWritable(socket) { continuation.resume() }
    }
  }

  /// The next message, as soon as there is one.
  func next() async throws -> [Frame] {
    if !inbox.isEmpty { return try inbox.removeFirst().get() }
    return try await withCheckedContinuation { waiting = $0 }.get()
  }

  /// Sends `frames` again and again until the other side has answered.
  func sendUntilAnswered(_ frames: [Frame], every pause: Duration) async throws -> [Frame] {
    repeatedly(frames, every: pause)
    return try await next()
  }

  private func repeatedly(_ frames: [Frame], every pause: Duration) {
    // While it would block, it isn't connected: the next try may go.
    try? socket.send(frames)
    loop.schedule(after: pause) { [weak self] in
      guard let self else { return }
      self.assumeIsolated { if $0.waiting != nil { $0.repeatedly(frames, every: pause) } }
    }
  }

  func close() { socket.close() }
}

/// Runs `body` with a loop and a context, and ends both.
func withLoop(_ body: (SocketLoop, Context) async throws -> Void) async throws {
  let loop = try SocketLoop(name: "test")
  let context = try Context()
  let result: Result<Void, any Error>
  do { result = .success(try await body(loop, context)) } catch { result = .failure(error) }
  loop.stop()
  try result.get()
}

extension Frame {
  var text: String { String(decoding: bytes, as: UTF8.self) }
  convenience init(_ text: String) { self.init(Array(text.utf8)) }
}
