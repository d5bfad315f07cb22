import Wire
import ZeroMQ

/// A ROUTER that hands a test every request and answers with what the test says.
actor ScriptedBroker {
  struct Received: Sendable {
    var peer: Frame
    var number: UInt64
    var request: ClientRequest
  }

  private let loop: SocketLoop
  private let context: Context
  private var socket: Socket?
  private var waiting: [Received] = []
  private var waiters: [CheckedContinuation<Received, Never>] = []
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  private init() throws {
    loop = try SocketLoop(name: "scripted-broker")
    context = try Context()
  }

  /// - Parameter endpoint: of a broker that was here before; `nil`: any free port.
  static func start(at endpoint: String? = nil) async throws -> (ScriptedBroker, endpoint: String) {
    let broker = try ScriptedBroker()
    return (broker, try await broker.bind(endpoint ?? "tcp://127.0.0.1:*"))
  }

  private func bind(_ endpoint: String) throws -> String {
    var options = SocketOptions()
    options.sendHighWaterMark = 1000
    options.receiveHighWaterMark = 1000
    let socket = try Socket(context, .router, options)
    // The port of a broker that was stopped may be taken for a moment more.
    while true {
      do {
        try socket.bind(endpoint)
        break
      } catch {
        guard error.code == .addressInUse else { throw error }
      }
    }
    loop.add(socket) { [weak self] in self?.assumeIsolated { $0.drain() } }
    self.socket = socket
    return try socket.lastEndpoint
  }

  private func drain() {
    while let frames = try? socket?.receive() {
      guard let (number, request) = try? WireCodec.decodeClientRequest(Array(frames.dropFirst())) else { continue }
      let received = Received(peer: frames[0], number: number, request: request)
      if waiters.isEmpty { waiting.append(received) } else { waiters.removeFirst().resume(returning: received) }
    }
  }

  /// The next request, in the order of arrival.
  func next() async -> Received {
    if !waiting.isEmpty { return waiting.removeFirst() }
    return await withCheckedContinuation { waiters.append($0) }
  }

  func answer(_ received: Received, _ reply: ClientReply) throws {
    try send(WireCodec.encode(reply, request: received.number), to: received.peer)
  }

  func send(_ frames: [Frame], to peer: Frame) throws {
    try socket?.send([peer] + frames)
  }

  /// Ends it, connections and all.
  nonisolated func stop() async {
    await hangUp()
    loop.stop()
  }

  private func hangUp() {
    if let socket { loop.remove(socket) }
    socket?.close()
    socket = nil
    context.terminate()
  }
}
