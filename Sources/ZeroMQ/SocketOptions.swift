import CZeroMQ

package enum SocketType: Hashable, Sendable {
  case dealer, router, pair

  var rawValue: Int32 {
    switch self {
    case .dealer: ZMQ_DEALER
    case .router: ZMQ_ROUTER
    case .pair: ZMQ_PAIR
    }
  }
}

/// What a socket is told before it binds or connects. High-water marks count whole messages, not frames.
package struct SocketOptions: Hashable, Sendable {
  /// Messages queued for one peer before `send` throws `.wouldBlock`; at least 1.
  package var sendHighWaterMark: Int32 = 8
  /// Messages received and not yet read, a peer; at least 1.
  package var receiveHighWaterMark: Int32 = 8
  /// How long `close` goes on sending in the background what is queued.
  package var linger: Duration = .zero
  /// A frame larger than this closes the connection it came from. ZeroMQ allocates what a peer announces, up to this.
  package var maxFrameBytes: Int64 = 64 << 20
  /// A message of more frames is thrown away.
  package var maxFrames = 64
  /// ROUTER: a message to an unknown peer throws `.hostUnreachable` instead of vanishing.
  package var mandatory = true
  /// DEALER, PAIR: nothing is queued before a connection stands; `send` throws `.wouldBlock` until then.
  package var immediate = false
  /// First and longest pause between attempts to connect; it doubles in between.
  package var reconnect: Duration = .milliseconds(100)
  package var reconnectMaximum: Duration = .seconds(10)
  /// A connection that hasn't shaken hands by then is closed.
  package var handshakeTimeout: Duration = .seconds(5)
  /// ZMTP pings find dead TCP paths, not hung programs. Off at 0. The timeout must exceed the time that the largest frame takes.
  ///
  /// ZeroMQ 4.3.4 aborts the process (`!_io_error`) if a ping is due on a connection that broke while its receive queue was full: a socket
  /// that strangers can flood must not ping. It answers the pings of its peers all the same, and goes by the time to live that they announce.
  package var heartbeatInterval: Duration = .seconds(5)
  package var heartbeatTimeout: Duration = .seconds(30)
  /// TCP's own probes, which find a dead path in a minute and a half.
  package var keepAlive = true
  /// Also IPv6: wildcard binds take both.
  package var ipv6 = false
  /// Encryption, and the proof of who is at the other end; `nil`: neither.
  package var curve: Curve?
  /// This socket's name for the ROUTERs it connects to, 1 to 255 bytes that don't begin with 0; `nil`: ROUTERs make one up.
  package var routingID: [UInt8]?

  package init() {}

  /// An end of an encrypted connection (ZeroMQ RFC 25, CurveZMQ).
  package enum Curve: Hashable, Sendable {
    /// Accepts who knows its public key and whom the context's `Authenticator` lets in; without one, everyone who knows the key.
    case server(CurveKeyPair, domain: String)
    /// Connects to the holder of this key alone, showing its own.
    case client(CurveKeyPair, server: CurvePublicKey)
  }
}
