import ZeroMQ

/// The same measurements on Weir's own sockets, which never block and live on loops: DEALER to DEALER.
enum SocketPath {
  /// - Returns: microseconds one way, the mean.
  static func latency(over transport: WireTransport, bytes: Int, roundTrips: Int) async throws -> Double {
    try await withEnds(transport) { near, far in
      await far.echo()
      return await near.roundTrips(roundTrips, of: bytes) / .microseconds(1) / Double(2 * roundTrips)
    }
  }

  /// - Returns: messages a second, counted from the first on.
  static func throughput(over transport: WireTransport, bytes: Int, messages: Int) async throws -> Double {
    try await withEnds(transport) { near, far in
      async let time = far.count(messages)
      await near.flood(messages, of: bytes)
      return Double(messages) / (await time / .seconds(1))
    }
  }

  private static func withEnds<Result: Sendable>(
    _ transport: WireTransport, _ body: @Sendable (End, End) async throws -> Result
  ) async throws -> Result {
    let context = try Context()
    let other = transport == .tcp ? try Context() : context
    let far = try End("wire-far", other)
    let near = try End("wire-near", context)
    let endpoint = try await far.bind(transport == .tcp ? "tcp://127.0.0.1:*" : "inproc://wire")
    try await near.connect(endpoint)
    let result = try await body(near, far)
    far.stop()
    near.stop()
    context.terminate()
    other.terminate()
    return result
  }
}

/// A socket on a loop of its own.
private actor End {
  /// Messages sent or read before others get their turn.
  private static let perTurn = 256

  private nonisolated let loop: SocketLoop
  private let socket: Socket
  private var left = 0
  private var start = ContinuousClock.now
  private var ended: CheckedContinuation<Duration, Never>?

  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  init(_ name: String, _ context: Context) throws {
    loop = try SocketLoop(name: name)
    var options = SocketOptions()
    // ZeroMQ's own default, with which the perf programs run.
    options.sendHighWaterMark = 1_000
    options.receiveHighWaterMark = 1_000
    socket = try Socket(context, .dealer, options)
  }

  /// Closes the socket, too.
  nonisolated func stop() { loop.stop() }

  func bind(_ endpoint: String) throws -> String {
    try socket.bind(endpoint)
    return try socket.lastEndpoint
  }

  func connect(_ endpoint: String) throws { try socket.connect(endpoint) }

  /// Sends back what comes.
  func echo() {
    onMessage { end, message in try end.socket.send(message) }
  }

  /// How long so many take, one after the other.
  func roundTrips(_ count: Int, of bytes: Int) async -> Duration {
    left = count
    start = .now
    onMessage { end, _ in
      end.left -= 1
      if end.left == 0 { return end.finish() }
      try end.socket.send([Self.message(bytes)])
    }
    must { try socket.send([Self.message(bytes)]) }
    return await withCheckedContinuation { ended = $0 }
  }

  /// How long it takes, from the first on, until so many have come.
  func count(_ messages: Int) async -> Duration {
    left = messages
    onMessage { end, _ in
      if end.left == messages { end.start = .now }
      end.left -= 1
      if end.left == 0 { end.finish() }
    }
    return await withCheckedContinuation { ended = $0 }
  }

  /// Begins to send, as fast as the socket takes it.
  func flood(_ messages: Int, of bytes: Int) {
    loop.add(socket) {}
    send(messages, of: bytes)
  }

  private func send(_ messages: Int, of bytes: Int) {
    var left = messages
    while left > 0 {
      do throws(ZeroMQError) { try socket.send([Self.message(bytes)]) } catch {
        guard error.code == .wouldBlock else { fatalError("\(error)") }
        let rest = left
        return loop.onceWritable(socket) { [weak self] in self?.assumeIsolated { $0.send(rest, of: bytes) } }
      }
      left -= 1
    }
  }

  private func onMessage(_ body: @escaping @Sendable (isolated End, [Frame]) throws -> Void) {
    loop.add(socket) { [weak self] in
      self?.assumeIsolated { end in
        end.must {
          for _ in 0..<Self.perTurn {
            guard let message = try end.socket.receive() else { return }
            try body(end, message)
          }
        }
      }
    }
  }

  private func finish() {
    ended?.resume(returning: .now - start)
    ended = nil
  }

  /// Of whatever was in its memory, as the perf programs have it.
  private static func message(_ bytes: Int) -> Frame { Frame(count: bytes) { _ in } }

  /// Who cannot go on has measured nothing.
  private func must(_ body: () throws -> Void) {
    do { try body() } catch { fatalError("\(error)") }
  }
}
