import Load
import Wire
import ZeroMQ

/// What workers and clients may take for a broker. It says where its workers' port is, and then nothing but damaged messages.
actor HostileBroker {
  private nonisolated let loop: SocketLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let context: Context
  private let sockets: [Socket]
  private var replies: Mutator
  private var commands: Mutator
  /// Some come whole, or no worker would get further than its hello.
  private let whole: [[Frame]]

  init(_ corpus: Corpus, seed: UInt64, on loop: SocketLoop) throws {
    self.loop = loop
    context = try Context()
    sockets = [try Socket(context, .router), try Socket(context, .router)]
    replies = Mutator(seed: seed, corpus: corpus.all(.reply))
    commands = Mutator(seed: seed, corpus: corpus.all(.command))
    whole = corpus.messages[.command]?["welcome"] ?? []
  }

  func open() throws -> String {
    for (side, socket) in sockets.enumerated() {
      try socket.bind("tcp://127.0.0.1:*")
      loop.add(socket) { [unowned self] in assumeIsolated { $0.answer(side) } }
    }
    return try sockets[0].lastEndpoint
  }

  func close() {
    for socket in sockets {
      loop.remove(socket)
      socket.close()
    }
    context.terminate()
  }

  private func answer(_ side: Int) {
    for _ in 0..<64 {
      guard var frames = try? sockets[side].receive(), !frames.isEmpty else { return }
      let peer = frames.removeFirst()
      if side == 0 {
        reply(to: frames, peer)
      } else {
        for message in whole { say(message, to: peer, side) }
        for _ in 0..<16 { say(commands.next(), to: peer, side) }
      }
    }
  }

  private func reply(to frames: [Frame], _ peer: Frame) {
    guard let (request, message) = try? WireCodec.decodeClientRequest(frames) else { return }
    if case .locate = message {
      let port = (try? sockets[1].lastEndpoint).flatMap { $0.split(separator: ":").last }.flatMap { UInt32($0) } ?? 1
      if let located = try? WireCodec.encode(.located(workerPort: port), request: request) { say(located, to: peer, 0) }
      return
    }
    for _ in 0..<16 {
      var message = replies.next()
      // A reply to something else is not looked at, so this is one to what was asked, where it can be read at all.
      if let (_, reply) = try? WireCodec.decodeClientReply(message) {
        message = (try? WireCodec.encode(reply, request: request)) ?? message
      }
      say(message, to: peer, 0)
    }
  }

  private func say(_ message: [Frame], to peer: Frame, _ side: Int) {
    if message.isEmpty { return }
    try? sockets[side].send([peer] + message)
  }
}
