import CZeroMQ

/// What happens to a connection of a socket, below its messages.
package enum ConnectionEvent: Hashable, Sendable {
  /// A listening socket has a new peer, at this file descriptor.
  case accepted(Int32)
  /// The connection at this file descriptor is over.
  case disconnected(Int32)
  /// The two ends did not come together. A failure other than `brokenOff` is final for a socket that connects: it stays silent until it is
  /// closed.
  case handshakeFailed(HandshakeFailure)

  /// As ZeroMQ tells it: the event's number and its value, in the machine's byte order.
  init?(_ bytes: [UInt8]) {
    guard bytes.count == 6 else { return nil }
    let (number, value) = bytes.withUnsafeBytes {
      ($0.loadUnaligned(as: UInt16.self), $0.loadUnaligned(fromByteOffset: 2, as: UInt32.self))
    }
    switch Int32(number) {
    case ZMQ_EVENT_ACCEPTED: self = .accepted(Int32(bitPattern: value))
    case ZMQ_EVENT_DISCONNECTED: self = .disconnected(Int32(bitPattern: value))
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH: self = .handshakeFailed(.keyRefused)
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL: self = .handshakeFailed(.brokenOff)
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL where Int(value) == Int(ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH):
      self = .handshakeFailed(.mechanismMismatch)
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL where Int(value) == Int(ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC):
      self = .handshakeFailed(.wrongServerKey)
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL: self = .handshakeFailed(.violation)
    default: return nil
    }
  }

  static let handshakeFailures =
    ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL
  static let comings = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED
}

/// Why two ends did not come together.
package enum HandshakeFailure: Hashable, Sendable {
  /// The server's `Authenticator` does not let this key in. Both ends learn it.
  case keyRefused
  /// One end has keys and the other has none. The end that finds out first hangs up, so that for the other the connection may be broken off.
  case mechanismMismatch
  /// A client that takes the server for the holder of another key. Only the server learns it; it breaks off.
  case wrongServerKey
  /// The other end hung up or took too long. It is dialled again.
  case brokenOff
  /// The other end does not speak ZMTP as it should.
  case violation
}

extension SocketLoop {
  /// Calls `body` when a socket's handshakes fail, until it is closed. To be called before the socket connects.
  package func onHandshakeFailure(of socket: Socket, _ body: @escaping (HandshakeFailure) -> Void) throws(ZeroMQError) {
    let monitor = try socket.makeMonitor(ConnectionEvent.handshakeFailures)
    add(monitor) { [unowned monitor] in
      for case .handshakeFailed(let failure) in monitor.connectionEvents() { body(failure) }
    }
  }

  /// Calls `body` when a listening socket's handshakes fail for a reason of which its `Authenticator` does not hear, with the peer's IP
  /// address; `nil`: the peer was gone before it could be asked for. To be called before the socket binds.
  package func onPeerFailure(of socket: Socket, _ body: @escaping (String?, HandshakeFailure) -> Void) throws(ZeroMQError) {
    let monitor = try socket.makeMonitor(ConnectionEvent.handshakeFailures | ConnectionEvent.comings)
    var addresses: [Int32: String] = [:]
    var failure: HandshakeFailure?
    add(monitor) { [unowned monitor] in
      let events = monitor.connectionEvents()
      // A descriptor that was given away again since then would tell another peer's address.
      let last = Dictionary(events.indices.map { (events[$0], $0) }, uniquingKeysWith: max)
      for (index, event) in events.enumerated() {
        switch event {
        case .accepted(let descriptor): addresses[descriptor] = last[event] == index ? peerAddress(of: descriptor) : nil
        case .handshakeFailed(let reason): failure = reason
        case .disconnected(let descriptor):
          // The event after a failure is the end of that connection, except where the authenticator was asked: then it may be another's.
          let address = addresses.removeValue(forKey: descriptor)
          if let failure, failure != .keyRefused { body(address, failure) }
          failure = nil
        }
      }
    }
  }
}

extension Socket {
  /// Of a monitor: what it has to tell.
  fileprivate func connectionEvents() -> [ConnectionEvent] {
    var events: [ConnectionEvent] = []
    while let frames = try? receive() { if let event = frames.first.flatMap({ ConnectionEvent($0.bytes) }) { events.append(event) } }
    return events
  }
}
