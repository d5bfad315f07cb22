import Wire
import ZeroMQ

/// Connections to both ends of a broker that send it damaged messages as fast as it takes them, and a few that are damaged themselves. What it
/// answers is read and dropped.
actor FrameStorm {
  private struct Line {
    let socket: Socket
    var mutator: Mutator
    /// Messages until it is closed and another one is opened.
    var left: Int
  }

  /// Connections do not live for ever either.
  private static let messagesPerLine = 200_000
  private static let messagesPerRawConnection = 1_000

  private nonisolated let loop: SocketLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let context: Context
  private let clients: String
  private var workers = ""
  private let corpus: Corpus
  private let seed: UInt64
  private let connections: Int
  private let keys: (client: CurveIdentity, worker: CurveIdentity)?
  private var lines: [Line] = []
  private var opened: UInt64 = 0
  private(set) var frames = 0
  private(set) var messages = 0
  private(set) var rawConnections = 0
  private var rawPeers: [RawPeers] = []
  private var goal = 0
  private var reached: CheckedContinuation<Void, any Error>?
  private var asking: Socket?
  private var located: CheckedContinuation<UInt32, Never>?

  /// - Parameters:
  ///   - broker: its public endpoint.
  ///   - connections: at each of the two.
  ///   - keys: with which it is let in.
  init(
    at broker: String, corpus: Corpus, seed: UInt64, connections: Int, keys: (client: CurveIdentity, worker: CurveIdentity)? = nil,
    on loop: SocketLoop
  ) throws {
    self.loop = loop
    clients = broker
    self.corpus = corpus
    self.seed = seed
    self.connections = connections
    self.keys = keys
    context = try Context()
  }

  /// Returns once this many frames were sent in all.
  func send(_ count: Int) async throws {
    if workers.isEmpty {
      workers = try await locate()
      for (index, (endpoint, role)) in [(clients, Corpus.Role.request), (workers, .worker)].enumerated() {
        rawPeers.append(try RawPeers(at: endpoint, bytes: RawBytes(seed: seed &+ UInt64(index), corpus: corpus.all(role))))
      }
    }
    if lines.isEmpty { for index in 0..<2 * connections { lines.append(try open(index)) } }
    goal = count
    if frames >= goal { return }
    try await withCheckedThrowingContinuation {
      reached = $0
      for index in lines.indices { pump(index) }
    }
  }

  func stop() {
    for line in lines { close(line) }
    lines = []
    for index in rawPeers.indices { rawPeers[index].close() }
    context.terminate()
  }

  /// Where the broker's workers connect.
  private func locate() async throws -> String {
    var options = SocketOptions()
    options.curve = keys?.client.curve
    let socket = try Socket(context, .dealer, options)
    try socket.connect(clients)
    asking = socket
    loop.add(socket) { [unowned self] in assumeIsolated { $0.hearPort() } }
    try socket.send(try WireCodec.encode(.locate, request: 1))
    let port = await withCheckedContinuation { located = $0 }
    guard port > 0, let colon = clients.lastIndex(of: ":") else { throw Broken("\(clients) does not say where its workers connect") }
    return "\(clients[..<colon]):\(port)"
  }

  private func hearPort() {
    guard let socket = asking, let frames = try? socket.receive() else { return }
    var port: UInt32 = 0
    if case .located(let found)? = try? WireCodec.decodeClientReply(frames).1 { port = found }
    loop.remove(socket)
    socket.close()
    asking = nil
    located?.resume(returning: port)
    located = nil
  }

  private func open(_ index: Int) throws -> Line {
    let isClient = index % 2 == 0
    opened += 1
    // Mostly what belongs there, sometimes what doesn't.
    let own = corpus.all(isClient ? .request : .worker)
    let strange = corpus.all(isClient ? .worker : .request) + corpus.all(.reply) + corpus.all(.command)
    let mutator = Mutator(seed: seed &+ opened &* 0x9E37_79B9_7F4A_7C15, corpus: own + own + own + strange)
    var options = SocketOptions()
    options.linger = .zero
    // A ping on a connection whose queue is full, because nobody reads in time, can end this program: see there.
    options.heartbeatInterval = .zero
    options.curve = (isClient ? keys?.client : keys?.worker)?.curve
    let socket = try Socket(context, .dealer, options)
    try socket.connect(isClient ? clients : workers)
    loop.add(socket) { [unowned self] in assumeIsolated { $0.drain(index) } }
    return Line(socket: socket, mutator: mutator, left: Self.messagesPerLine)
  }

  private func close(_ line: Line) {
    loop.remove(line.socket)
    line.socket.close()
  }

  private func drain(_ index: Int) {
    guard index < lines.count else { return }
    for _ in 0..<1_000 { guard let frames = try? lines[index].socket.receive(), !frames.isEmpty else { return } }
  }

  /// - Returns: false if the socket takes nothing now.
  private func isSent(_ message: [Frame], _ socket: Socket) throws(ZeroMQError) -> Bool {
    do throws(ZeroMQError) {
      try socket.send(message)
      return true
    } catch {
      if error.code == .wouldBlock { return false }
      throw error
    }
  }

  private func pump(_ index: Int) {
    guard index < lines.count, reached != nil else { return }
    do {
      if lines[index].left <= 0 {
        close(lines[index])
        lines[index] = try open(index)
      }
      for _ in 0..<256 {
        let message = lines[index].mutator.next()
        if message.isEmpty { continue }
        guard try isSent(message, lines[index].socket) else {
          return loop.onceWritable(lines[index].socket) { [unowned self] in assumeIsolated { $0.pump(index) } }
        }
        frames += message.count
        messages += 1
        lines[index].left -= 1
        if messages % Self.messagesPerRawConnection == 0 {
          try rawPeers[rawConnections % rawPeers.count].next()
          rawConnections += 1
        }
        if frames >= goal {
          reached?.resume()
          reached = nil
          return
        }
      }
      // The others have their turn, and answers are read.
      loop.schedule(after: .zero) { [unowned self] in assumeIsolated { $0.pump(index) } }
    } catch {
      reached?.resume(throwing: error)
      reached = nil
    }
  }
}
