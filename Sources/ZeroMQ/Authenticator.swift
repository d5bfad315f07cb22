/// Decides who may connect to the CURVE servers of a context: ZeroMQ asks it (RFC 27, ZAP) after each handshake, when the peer has proved
/// that it holds the key it shows.
///
/// Make it before the sockets bind, or they let everyone in.
package final class Authenticator {
  /// Someone at the door.
  package struct Request: Hashable, Sendable {
    /// The server's domain, of its `SocketOptions.Curve`.
    package let domain: String
    /// Where the peer's connection comes from: an IP address.
    package let address: String
    package let key: CurvePublicKey
  }

  private let socket: Socket
  private let loop: SocketLoop
  private let decide: (Request) -> Bool

  /// - Parameter decide: whether to let a peer in; called on the loop. A peer that is let in is known by its key: `Socket.lastSender`.
  package init(_ context: Context, on loop: SocketLoop, decide: @escaping (Request) -> Bool) throws(ZeroMQError) {
    self.loop = loop
    self.decide = decide
    var options = SocketOptions()
    // Whoever asks waits for the answer; a storm of connections must not lose any.
    options.sendHighWaterMark = 100_000
    options.receiveHighWaterMark = 100_000
    options.mandatory = false
    socket = try Socket(context, .router, options)
    try socket.bind("inproc://zeromq.zap.01")
    loop.add(socket) { [weak self] in self?.answerAll() }
  }

  package func close() {
    loop.remove(socket)
    socket.close()
  }

  private func answerAll() {
    // What ZeroMQ itself sends is never malformed, and only it can reach this socket.
    while let frames = try? socket.receive() { answer(frames) }
  }

  /// Asker, empty, "1.0", request, domain, address, identity, mechanism, credentials.
  private func answer(_ frames: [Frame]) {
    guard frames.count >= 8 else { return }
    let text = frames.map { String(decoding: $0.bytes, as: UTF8.self) }
    var user = ""
    if text[2] == "1.0", text[7] == "CURVE", frames.count == 9, let key = CurvePublicKey(bytes: frames[8].bytes),
      decide(Request(domain: text[4], address: text[5], key: key))
    {
      user = key.text
    }
    let (status, reason) = user.isEmpty ? ("400", "not on the list") : ("200", "OK")
    try? socket.send(
      [frames[0], frames[1], Frame(Array("1.0".utf8)), frames[3]]
        + [status, reason, user, ""].map { Frame(Array($0.utf8)) })
  }
}
