import Logging
import ZeroMQ

/// Lets those in who are on the access list, and logs the others.
///
/// ZeroMQ asks once for each connection, so this only keeps strangers from taking up room; what a peer that is in may do, and whether it is
/// still on the list, the core asks with every message.
final class Doorkeeper {
  /// A worker finds its port at the clients' door.
  enum Door: String { case clients, workers }

  private let pair: CurveKeyPair
  private let loop: SocketLoop
  private let logger: Logger
  private let start = ContinuousClock.now
  private var file: AccessFile
  private(set) var list: AccessList
  private var authenticator: Authenticator?
  private var refusals = RefusalLog()

  /// - Throws: `BrokerError` if the list cannot be read, or `ZeroMQError`.
  init(_ keys: BrokerConfiguration.Keys, _ context: Context, on loop: SocketLoop, _ logger: Logger) throws {
    pair = keys.pair
    self.loop = loop
    self.logger = logger
    file = AccessFile(keys.accessList)
    list = try file.read()
    authenticator = try Authenticator(context, on: loop) { [unowned self] request in mayEnter(request) }
    logger.info("\(list.grants.count) keys may enter; this broker's own public key is \(pair.publicKey)")
  }

  func close() { authenticator?.close() }

  func curve(_ door: Door) -> SocketOptions.Curve { .server(pair, domain: door.rawValue) }

  /// Logs who comes to a socket without a key, or takes this broker for another. To be called before it binds.
  func observe(_ socket: Socket, at address: BindAddress) throws(ZeroMQError) {
    try loop.onPeerFailure(of: socket) { [unowned self] peer, failure in
      // Only this machine can reach a loopback address.
      let peer = peer ?? (address.isLoopback ? "this machine" : "a peer that was gone at once")
      switch failure {
      case .mechanismMismatch: noteRefusal("\(peer): it came without a key")
      case .wrongServerKey: noteRefusal("\(peer): it takes this broker for one with another key (its --broker-key is wrong)")
      // Who finds out first that the two do not fit hangs up, and that may be the peer.
      case .brokenOff: noteRefusal("\(peer): it hung up before it had shown a key")
      case .violation: noteRefusal("\(peer): it does not speak ZeroMQ's protocol")
      case .keyRefused: break
      }
    }
  }

  /// Looks at the file.
  ///
  /// - Parameter always: read it though it seems not to have changed.
  /// - Returns: the new list, if there is one. One with a fault is logged, and the old one stays.
  func reload(always: Bool = false) -> AccessList? {
    do throws(BrokerError) {
      let new = always ? try file.read() : try file.readIfChanged()
      guard let new else { return nil }
      list = new
      logger.notice("\(file.path) was read again: \(list.grants.count) keys may enter")
      return new
    } catch {
      logger.error("\(error); the list that was read before stays in force")
      return nil
    }
  }

  private func mayEnter(_ request: Authenticator.Request) -> Bool {
    switch (list.grants[request.key], request.domain) {
    case (.client?, Door.clients.rawValue), (.worker?, _): return true
    case (.client?, _): noteRefusal("\(request.address), key \(request.key): it is a client's, and came to the workers' port")
    case (nil, _): noteRefusal("\(request.address), key \(request.key): it is not on the list")
    }
    return false
  }

  private func noteRefusal(_ text: String) {
    let (seconds, attoseconds) = start.duration(to: .now).components
    guard let line = refusals.line("refused \(text)", at: seconds * 1_000 + attoseconds / 1_000_000_000_000_000) else { return }
    logger.warning("\(line)")
  }
}
