import CZeroMQ
import Foundation
import Glibc

/// libzmq by its C API alone, measured as its own perf programs do (`perf/` in its repository), which Debian does not ship. Where those are two
/// processes, here are two threads with a context each: over TCP their messages take the same way.
enum PlainZeroMQ {
  /// local_lat and remote_lat: REP answers REQ.
  ///
  /// - Returns: microseconds one way, the mean.
  static func latency(over transport: WireTransport, bytes: Int, roundTrips: Int) throws -> Double {
    try Setting.with(transport) { setting in
      let answering = try setting.local(ZMQ_REP) { socket in
        for _ in 0..<roundTrips {
          try socket.receive(bytes)
          try socket.send(bytes)
        }
      }
      let socket = try setting.remote(ZMQ_REQ)
      defer { socket.close() }
      let start = ContinuousClock.now
      for _ in 0..<roundTrips {
        try socket.send(bytes)
        try socket.receive(bytes)
      }
      let microseconds = (ContinuousClock.now - start) / .microseconds(1)
      try answering.wait()
      return microseconds / Double(2 * roundTrips)
    }
  }

  /// local_thr and remote_thr: PUSH floods PULL, whose clock runs from the first message on.
  ///
  /// - Returns: messages a second.
  static func throughput(over transport: WireTransport, bytes: Int, messages: Int) throws -> Double {
    try Setting.with(transport) { setting in
      let rate = Box(0.0)
      let pulling = try setting.local(ZMQ_PULL) { socket in rate.value = try socket.count(messages, bytes) }
      let socket = try setting.remote(ZMQ_PUSH)
      defer { socket.close() }
      for _ in 0..<messages { try socket.send(bytes) }
      try pulling.wait()
      return rate.value
    }
  }

  /// The same through a `zmq_proxy` with a context of its own, PULL in front and PUSH behind: each message goes over TCP twice.
  static func proxied(bytes: Int, messages: Int) throws -> Double {
    try withContexts(3) { contexts in
      let front = try PlainSocket(contexts[1], ZMQ_PULL)
      let back = try PlainSocket(contexts[1], ZMQ_PUSH)
      let entrance = try front.bind("tcp://127.0.0.1:*")
      let exit = try back.bind("tcp://127.0.0.1:*")
      // It ends when its context is shut down.
      let proxy = Worker {
        zmq_proxy(front.handle, back.handle, nil)
        front.close()
        back.close()
      }
      let pull = try PlainSocket(contexts[2], ZMQ_PULL)
      try pull.connect(exit)
      let pushing = Worker {
        let push = try PlainSocket(contexts[0], ZMQ_PUSH)
        defer { push.close() }
        try push.connect(entrance)
        for _ in 0..<messages { try push.send(bytes) }
      }
      let rate = try pull.count(messages, bytes)
      pull.close()
      try pushing.wait()
      zmq_ctx_shutdown(contexts[1])
      try proxy.wait()
      return rate
    }
  }

  /// proxy_thr: two XPUB that do not drop flood a proxy of XSUB and XPUB, and a SUB gets what it can, all of them in one process (inproc): what
  /// is passed on is a reference to the one message that each sends, and no byte of it moves.
  static func proxiedInProcess(bytes: Int, messages: Int) throws -> Double {
    try withContexts(1) { contexts in
      let front = try PlainSocket(contexts[0], ZMQ_XSUB)
      let back = try PlainSocket(contexts[0], ZMQ_XPUB)
      for socket in [front, back] { try socket.set(ZMQ_SNDHWM, 10_000) }
      for socket in [front, back] { try socket.set(ZMQ_RCVHWM, 10_000) }
      try back.set(ZMQ_XPUB_NODROP, 1)
      _ = try front.bind("inproc://front")
      _ = try back.bind("inproc://back")
      let proxy = Worker {
        zmq_proxy(front.handle, back.handle, nil)
        front.close()
        back.close()
      }
      let publishers = (0..<2).map { _ in
        Worker {
          let publisher = try PlainSocket(contexts[0], ZMQ_XPUB)
          defer { publisher.close() }
          for option in [ZMQ_SNDHWM, ZMQ_RCVHWM] { try publisher.set(option, 10_000) }
          try publisher.set(ZMQ_XPUB_NODROP, 1)
          try publisher.connect("inproc://front")
          // The subscription.
          try publisher.receive(1)
          publisher.flood(bytes, messages)
        }
      }
      let subscriber = try PlainSocket(contexts[0], ZMQ_SUB)
      try subscriber.set(ZMQ_RCVHWM, 10_000)
      try subscriber.subscribe()
      try subscriber.connect("inproc://back")
      let rate = try subscriber.count(messages, bytes)
      subscriber.close()
      zmq_ctx_shutdown(contexts[0])
      for publisher in publishers { try? publisher.wait() }
      try proxy.wait()
      return rate
    }
  }

  private static func withContexts<Result>(_ count: Int, _ body: ([UnsafeMutableRawPointer]) throws -> Result) throws -> Result {
    let contexts = (0..<count).compactMap { _ in zmq_ctx_new() }
    defer { for context in contexts { zmq_ctx_term(context) } }
    guard contexts.count == count else { throw Broken("libzmq makes no context: \(String(cString: zmq_strerror(zmq_errno())))") }
    do { return try body(contexts) } catch {
      // Threads that wait for messages end.
      for context in contexts { zmq_ctx_shutdown(context) }
      throw error
    }
  }

  /// Where the two ends of a measurement meet.
  private struct Setting {
    private let near: UnsafeMutableRawPointer
    private let far: UnsafeMutableRawPointer
    private let address: Box<String>

    static func with<Result>(_ transport: WireTransport, _ body: (Setting) throws -> Result) throws -> Result {
      try withContexts(2) { contexts in
        try body(
          Setting(
            near: contexts[0], far: transport == .tcp ? contexts[1] : contexts[0],
            address: Box(transport == .tcp ? "tcp://127.0.0.1:*" : "inproc://wire")))
      }
    }

    /// The end that binds, on a thread of its own.
    func local(_ type: Int32, _ body: @escaping (PlainSocket) throws -> Void) throws -> Worker {
      let socket = try PlainSocket(far, type)
      address.value = try socket.bind(address.value)
      return Worker {
        defer { socket.close() }
        try body(socket)
      }
    }

    func remote(_ type: Int32) throws -> PlainSocket {
      let socket = try PlainSocket(near, type)
      try socket.connect(address.value)
      return socket
    }
  }
}

/// A socket of libzmq's, that blocks.
private final class PlainSocket {
  let handle: UnsafeMutableRawPointer
  private var isOpen = true

  init(_ context: UnsafeMutableRawPointer, _ type: Int32) throws {
    guard let handle = zmq_socket(context, type) else { throw Self.failure("zmq_socket") }
    self.handle = handle
  }

  deinit { close() }

  func close() {
    if isOpen { zmq_close(handle) }
    isOpen = false
  }

  func bind(_ endpoint: String) throws -> String {
    guard zmq_bind(handle, endpoint) == 0 else { throw Self.failure("zmq_bind") }
    var text = [CChar](repeating: 0, count: 256)
    var length = text.count
    guard zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, &text, &length) == 0 else { throw Self.failure("zmq_getsockopt") }
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  func connect(_ endpoint: String) throws {
    guard zmq_connect(handle, endpoint) == 0 else { throw Self.failure("zmq_connect") }
  }

  func set(_ option: Int32, _ value: Int32) throws {
    guard withUnsafeBytes(of: value, { zmq_setsockopt(handle, option, $0.baseAddress, $0.count) }) == 0 else {
      throw Self.failure("zmq_setsockopt")
    }
  }

  func subscribe() throws {
    guard zmq_setsockopt(handle, ZMQ_SUBSCRIBE, nil, 0) == 0 else { throw Self.failure("zmq_setsockopt") }
  }

  /// A new message each time, as the perf programs make it, of whatever was in that memory.
  func send(_ bytes: Int) throws {
    var message = zmq_msg_t()
    guard zmq_msg_init_size(&message, bytes) == 0, zmq_msg_send(&message, handle, 0) >= 0 else { throw Self.failure("zmq_msg_send") }
  }

  /// One message again and again, until that many are sent or the context is shut down.
  func flood(_ bytes: Int, _ count: Int) {
    var original = zmq_msg_t()
    zmq_msg_init_size(&original, bytes)
    defer { zmq_msg_close(&original) }
    memset(zmq_msg_data(&original), 65, bytes)
    for _ in 0..<count {
      var message = zmq_msg_t()
      zmq_msg_init(&message)
      zmq_msg_copy(&message, &original)
      guard zmq_msg_send(&message, handle, 0) >= 0 else {
        zmq_msg_close(&message)
        return
      }
    }
  }

  func receive(_ bytes: Int) throws {
    var message = zmq_msg_t()
    zmq_msg_init(&message)
    defer { zmq_msg_close(&message) }
    guard zmq_msg_recv(&message, handle, 0) >= 0 else { throw Self.failure("zmq_msg_recv") }
    guard zmq_msg_size(&message) == bytes else { throw Broken("a message has \(zmq_msg_size(&message)) bytes, not \(bytes)") }
  }

  /// - Returns: messages a second, from the first on.
  func count(_ messages: Int, _ bytes: Int) throws -> Double {
    try receive(bytes)
    let start = ContinuousClock.now
    for _ in 1..<messages { try receive(bytes) }
    return Double(messages) / ((ContinuousClock.now - start) / .seconds(1))
  }

  static func failure(_ call: String) -> Broken { Broken("\(call): \(String(cString: zmq_strerror(zmq_errno())))") }
}

private final class Box<Value>: @unchecked Sendable {
  // Unchecked: whoever writes it is waited for before it is read.
  var value: Value

  init(_ value: Value) { self.value = value }
}

/// A thread that is waited for.
private final class Worker: @unchecked Sendable {
  // Unchecked: `failure` is written before the signal and read after it.
  private let ended = DispatchSemaphore(value: 0)
  private let body: () throws -> Void
  private var failure: (any Error)?

  init(_ body: @escaping () throws -> Void) {
    self.body = body
    Thread.detachNewThread { self.run() }
  }

  private func run() {
    do { try body() } catch { failure = error }
    ended.signal()
  }

  func wait() throws {
    ended.wait()
    if let failure { throw failure }
  }
}
