import CZeroMQ
import Glibc
import Synchronization

/// A socket that never blocks. It isn't `Sendable`: after it is made, only one thread, its `SocketLoop`'s, may use it.
package final class Socket {
  /// `nil` once closed.
  private(set) var handle: UnsafeMutableRawPointer?
  private let context: Context
  package let type: SocketType
  private let maxFrames: Int
  private let isServer: Bool
  /// CURVE servers: who sent the message that `receive` returned last, as the handshake proved; `nil` without an `Authenticator`.
  package private(set) var lastSender: CurvePublicKey?
  /// CURVE servers: the IP address it came from; empty if ZeroMQ does not know.
  package private(set) var lastAddress = ""
  /// Runs once, before the socket closes.
  var onClose: (() -> Void)?

  /// Frames shorter than this are copied into ZeroMQ's own memory: for them a copy is cheaper than keeping the frame alive until it is
  /// sent, and a received one would keep the whole 8 KiB receive buffer it lies in.
  private static let copyLimit = 4096

  package init(_ context: Context, _ type: SocketType, _ options: SocketOptions = SocketOptions()) throws(ZeroMQError) {
    self.context = context
    self.type = type
    maxFrames = options.maxFrames
    isServer = if case .server = options.curve { true } else { false }
    handle = try context.makeSocket(type.rawValue)
    try set(options)
  }

  deinit { close() }

  /// Closes at once; what is queued is sent in the background for the linger time.
  package func close() {
    let onClose = onClose
    self.onClose = nil
    onClose?()
    guard let handle else { return }
    self.handle = nil
    zmq_close(handle)
  }

  /// - Parameter endpoint: `tcp://address:port`, port `*` for any free one; `ipc://path`; `inproc://name`.
  package func bind(_ endpoint: String) throws(ZeroMQError) {
    let handle = try opened("bind")
    try Self.checkPort(endpoint, "bind")
    try limitSendBuffer(to: endpoint)
    guard zmq_bind(handle, endpoint) == 0 else { throw ZeroMQError(errno: zmq_errno(), operation: "bind", endpoint: endpoint) }
  }

  /// Returns at once; the connection is made, and made again whenever it breaks, in the background.
  package func connect(_ endpoint: String) throws(ZeroMQError) {
    let handle = try opened("connect")
    try Self.checkPort(endpoint, "connect")
    try limitSendBuffer(to: endpoint)
    guard zmq_connect(handle, endpoint) == 0 else { throw ZeroMQError(errno: zmq_errno(), operation: "connect", endpoint: endpoint) }
  }

  /// What the last `bind` bound, with the real port.
  package var lastEndpoint: String {
    get throws(ZeroMQError) {
      let handle = try opened("lastEndpoint")
      var text = [CChar](repeating: 0, count: 1024)
      var length = text.count
      guard zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, &text, &length) == 0 else {
        throw ZeroMQError(errno: zmq_errno(), operation: "lastEndpoint")
      }
      return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
  }

  /// Sends all frames as one message or, throwing, none. On a ROUTER the first frame is the peer's routing id.
  /// That it was sent doesn't mean that it arrives.
  package func send(_ frames: [Frame]) throws(ZeroMQError) {
    try send(frames, after: nil)
  }

  /// The same from a ROUTER to one of its peers.
  ///
  /// - Parameter inFlight: counts the frames until ZeroMQ is done with them.
  package func send(_ frames: [Frame], to routingID: UnsafeRawBufferPointer, counting inFlight: BytesInFlight? = nil) throws(ZeroMQError) {
    let handle = try opened("send")
    if let errno = Self.send(copying: routingID, on: handle, flags: ZMQ_DONTWAIT | ZMQ_SNDMORE) {
      throw ZeroMQError(errno: errno, operation: "send")
    }
    try send(frames, after: routingID, inFlight)
  }

  /// - Parameter routingID: `nil` if no frame of the message was sent yet.
  private func send(
    _ frames: [Frame], after routingID: UnsafeRawBufferPointer?, _ inFlight: BytesInFlight? = nil
  ) throws(ZeroMQError) {
    let handle = try opened("send")
    var failure: ZeroMQError?
    for (index, frame) in frames.enumerated() {
      let flags = ZMQ_DONTWAIT | (index + 1 < frames.count ? ZMQ_SNDMORE : 0)
      if let errno = Self.send(frame, on: handle, flags: flags, inFlight) {
        let error = ZeroMQError(errno: errno, operation: "send")
        if index == 0, routingID == nil { throw error }
        // The connection went between two frames. ZeroMQ takes back the ones it had and drops those up to the end of this message,
        // so they have to be sent all the same, or the next message would be dropped in their place.
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
  }

  /// The next message, or `nil` if there is none. On a ROUTER its first frame is the peer's routing id.
  package func receive() throws(ZeroMQError) -> [Frame]? {
    let handle = try opened("receive")
    var frames: [Frame] = []
    var tooMany = false
    var more = true
    while more {
      var message = zmq_msg_t()
      zmq_msg_init(&message)
      var received: Int32
      var errno: Int32 = 0
      repeat {
        received = zmq_msg_recv(&message, handle, ZMQ_DONTWAIT)
        if received < 0 { errno = zmq_errno() }
      } while received < 0 && errno == EINTR
      guard received >= 0 else {
        zmq_msg_close(&message)
        if errno == EAGAIN && frames.isEmpty && !tooMany { return nil }
        throw ZeroMQError(errno: errno, operation: "receive")
      }
      more = zmq_msg_more(&message) != 0
      // Not of the first frame: ZeroMQ 4.3.4 can lose that one's.
      if isServer && !more {
        lastSender = zmq_msg_gets(&message, "User-Id").map { CurvePublicKey(proven: String(cString: $0)) }
        lastAddress = zmq_msg_gets(&message, "Peer-Address").map { String(cString: $0) } ?? ""
      }
      if frames.count == maxFrames {
        tooMany = true
        frames = []
      }
      if tooMany || received < Self.copyLimit {
        if !tooMany {
          // Those of a result: the peer, the envelope and a tensor.
          if frames.isEmpty { frames.reserveCapacity(4) }
          frames.append(Frame(copying: UnsafeRawBufferPointer(start: zmq_msg_data(&message), count: zmq_msg_size(&message))))
        }
        zmq_msg_close(&message)
      } else {
        let kept = UnsafeMutablePointer<zmq_msg_t>.allocate(capacity: 1)
        zmq_msg_init(kept)
        zmq_msg_move(kept, &message)
        zmq_msg_close(&message)
        frames.append(Frame(adopting: kept))
      }
    }
    if tooMany { throw ZeroMQError(.tooManyFrames, operation: "receive") }
    return frames
  }

  /// Tells of some of what happens to the connections of this socket, through the socket that is returned, until either is closed.
  ///
  /// - Parameter events: of ZeroMQ's `ZMQ_EVENT_…`, joined.
  func makeMonitor(_ events: Int32) throws(ZeroMQError) -> Socket {
    let handle = try opened("monitor")
    let endpoint = "inproc://monitor-\(Self.monitors.add(1, ordering: .relaxed).newValue)"
    guard zmq_socket_monitor(handle, endpoint, events) == 0 else { throw ZeroMQError(errno: zmq_errno(), operation: "monitor") }
    var options = SocketOptions()
    // While nobody reads and the queue is full, all of the context's connections wait.
    options.receiveHighWaterMark = 100_000
    do throws(ZeroMQError) {
      let monitor = try Socket(context, .pair, options)
      try monitor.connect(endpoint)
      // What would be told to nobody blocks ZeroMQ's own thread, so it is told to stop before there is nobody. This socket is still open
      // then, for it closes its monitor first.
      monitor.onClose = { zmq_socket_monitor(handle, nil, 0) }
      onClose = { monitor.close() }
      return monitor
    } catch {
      zmq_socket_monitor(handle, nil, 0)
      throw error
    }
  }

  private static let monitors = Atomic<UInt64>(0)

  private func opened(_ operation: String) throws(ZeroMQError) -> UnsafeMutableRawPointer {
    guard let handle else { throw ZeroMQError(.terminated, operation: operation) }
    return handle
  }

  /// Limits what the kernel holds of a connection's bytes within this machine. By itself it lets up to 4 MiB gather, with which a tenth fewer
  /// tensors of 48 KiB get through a broker, and a fifth fewer of 768 KiB. Between machines that is right, for the path may be long.
  private func limitSendBuffer(to endpoint: String) throws(ZeroMQError) {
    try set(ZMQ_SNDBUF, isLoopback(endpoint) ? Self.localSendBuffer : -1)
  }

  /// In bytes; the kernel counts its own overhead and allows twice as much.
  private static let localSendBuffer: Int32 = 256 << 10

  /// ZeroMQ takes port numbers modulo 65,536.
  private static func checkPort(_ endpoint: String, _ operation: String) throws(ZeroMQError) {
    guard endpoint.hasPrefix("tcp://"), let colon = endpoint.lastIndex(of: ":") else { return }
    let port = endpoint[endpoint.index(after: colon)...]
    guard port == "*" || UInt16(port) != nil else { throw ZeroMQError(.invalidEndpoint, operation: operation, endpoint: endpoint) }
  }

  /// The error number, or `nil` if the frame was taken.
  private static func send(_ frame: Frame, on handle: UnsafeMutableRawPointer, flags: Int32, _ inFlight: BytesInFlight?) -> Int32? {
    if frame.count < copyLimit { return frame.withUnsafeBytes { send(copying: $0, on: handle, flags: flags) } }
    var message = zmq_msg_t()
    let sent = SentFrame(frame, inFlight)
    let status = frame.withUnsafeBytes { bytes in
      zmq_msg_init_data(
        &message, UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count, releaseSentFrame,
        Unmanaged.passRetained(sent).toOpaque())
    }
    guard status == 0 else {
      let errno = zmq_errno()
      Unmanaged.passUnretained(sent).release()
      return errno
    }
    return send(&message, on: handle, flags: flags)
  }

  private static func send(copying bytes: UnsafeRawBufferPointer, on handle: UnsafeMutableRawPointer, flags: Int32) -> Int32? {
    var message = zmq_msg_t()
    guard zmq_msg_init_size(&message, bytes.count) == 0 else { return zmq_errno() }
    if let source = bytes.baseAddress { zmq_msg_data(&message).copyMemory(from: source, byteCount: bytes.count) }
    return send(&message, on: handle, flags: flags)
  }

  private static func send(_ message: inout zmq_msg_t, on handle: UnsafeMutableRawPointer, flags: Int32) -> Int32? {
    while true {
      if zmq_msg_send(&message, handle, flags) >= 0 { return nil }
      let errno = zmq_errno()
      if errno == EINTR { continue }
      // Closing a message that wasn't taken calls `releaseSentFrame`.
      zmq_msg_close(&message)
      return errno
    }
  }

  private func set(_ options: SocketOptions) throws(ZeroMQError) {
    try set(ZMQ_SNDHWM, max(1, options.sendHighWaterMark))
    try set(ZMQ_RCVHWM, max(1, options.receiveHighWaterMark))
    try set(ZMQ_LINGER, milliseconds(options.linger))
    try set(ZMQ_MAXMSGSIZE, options.maxFrameBytes)
    try set(ZMQ_RECONNECT_IVL, max(1, milliseconds(options.reconnect)))
    try set(ZMQ_RECONNECT_IVL_MAX, milliseconds(options.reconnectMaximum))
    try set(ZMQ_HANDSHAKE_IVL, milliseconds(options.handshakeTimeout))
    try set(ZMQ_TCP_KEEPALIVE, Int32(options.keepAlive ? 1 : 0))
    try set(ZMQ_IPV6, Int32(options.ipv6 ? 1 : 0))
    if options.keepAlive {
      try set(ZMQ_TCP_KEEPALIVE_IDLE, Int32(60))
      try set(ZMQ_TCP_KEEPALIVE_INTVL, Int32(10))
      try set(ZMQ_TCP_KEEPALIVE_CNT, Int32(3))
    }
    if options.heartbeatInterval > .zero {
      try set(ZMQ_HEARTBEAT_IVL, milliseconds(options.heartbeatInterval))
      try set(ZMQ_HEARTBEAT_TIMEOUT, milliseconds(options.heartbeatTimeout))
      // ZeroMQ 4.3.4 mishandles more than 65,535 ms.
      try set(ZMQ_HEARTBEAT_TTL, min(60_000, milliseconds(options.heartbeatTimeout)))
    }
    if type == .router {
      try set(ZMQ_ROUTER_MANDATORY, Int32(options.mandatory ? 1 : 0))
    } else {
      try set(ZMQ_IMMEDIATE, Int32(options.immediate ? 1 : 0))
    }
    switch options.curve {
    case nil: break
    case .server(let own, let domain):
      try set(ZMQ_CURVE_SERVER, Int32(1))
      try set(ZMQ_CURVE_SECRETKEY, own.secretKey.text)
      try set(ZMQ_ZAP_DOMAIN, domain)
    case .client(let own, let server):
      try set(ZMQ_CURVE_PUBLICKEY, own.publicKey.text)
      try set(ZMQ_CURVE_SECRETKEY, own.secretKey.text)
      try set(ZMQ_CURVE_SERVERKEY, server.text)
    }
    if let routingID = options.routingID {
      let handle = try opened("setsockopt")
      guard zmq_setsockopt(handle, ZMQ_ROUTING_ID, routingID, routingID.count) == 0 else {
        throw ZeroMQError(errno: zmq_errno(), operation: "set the routing id")
      }
    }
  }

  /// A Z85 key goes with the zero at its end, which makes it 41 bytes.
  private func set(_ option: Int32, _ text: String) throws(ZeroMQError) {
    let handle = try opened("setsockopt")
    let length = text.utf8.count + (option == ZMQ_ZAP_DOMAIN ? 0 : 1)
    guard text.withCString({ zmq_setsockopt(handle, option, $0, length) }) == 0 else {
      throw ZeroMQError(errno: zmq_errno(), operation: "set socket option \(option)")
    }
  }

  /// Generic so that the option's size, which ZeroMQ checks, is that of the value's type: Int32 for all but MAXMSGSIZE.
  private func set(_ option: Int32, _ value: some FixedWidthInteger) throws(ZeroMQError) {
    let handle = try opened("setsockopt")
    let status = withUnsafeBytes(of: value) { zmq_setsockopt(handle, option, $0.baseAddress, $0.count) }
    guard status == 0 else { throw ZeroMQError(errno: zmq_errno(), operation: "set socket option \(option) to \(value)") }
  }
}

/// A frame in ZeroMQ's hands.
private final class SentFrame: Sendable {
  let frame: Frame
  let inFlight: BytesInFlight?

  init(_ frame: Frame, _ inFlight: BytesInFlight?) {
    self.frame = frame
    self.inFlight = inFlight
    inFlight?.add(frame.count)
  }

  deinit { inFlight?.remove(frame.count) }
}

/// ZeroMQ calls this, on a thread of its own, when it has sent a frame that it didn't copy.
private func releaseSentFrame(_: UnsafeMutableRawPointer?, _ sent: UnsafeMutableRawPointer?) {
  guard let sent else { return }
  Unmanaged<SentFrame>.fromOpaque(sent).release()
}

/// Rounded up and clamped to 0…2³¹-1.
func milliseconds(_ duration: Duration) -> Int32 {
  let (seconds, attoseconds) = duration.components
  guard seconds >= 0, attoseconds >= 0 else { return 0 }
  guard seconds < 2_000_000 else { return Int32.max }
  let perMillisecond: Int64 = 1_000_000_000_000_000
  return Int32(seconds * 1000 + (attoseconds + perMillisecond - 1) / perMillisecond)
}
