import Glibc
import Testing

@testable import ZeroMQ

/// Peers that flood a socket and reset the connection: with ZeroMQ 4.3.4 as it is, each of these ends the process.
@Suite(.timeLimit(.minutes(1))) struct HungUpTests {
  private static let messages = 1_000

  /// A ROUTER whose queue for a peer is full, and whose peer is gone, and another peer, which was heard since.
  private struct Flooded {
    let context: Context
    let router: Socket
    let friend: Socket

    init(_ options: SocketOptions, said: [UInt8]) throws {
      context = try Context()
      router = try Socket(context, .router, options)
      try router.bind("tcp://127.0.0.1:*")
      let endpoint = try router.lastEndpoint
      try Self.flood(endpoint, said)
      friend = try Socket(context, .dealer)
      try friend.connect(endpoint)
      try friend.send([Frame(Array("friend".utf8))])
    }

    /// Says it all and resets the connection.
    private static func flood(_ endpoint: String, _ said: [UInt8]) throws {
      let port = try #require(endpoint.split(separator: ":").last.flatMap { UInt16($0) })
      let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      defer { Glibc.close(descriptor) }
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr.s_addr = inet_addr("127.0.0.1")
      let connected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
      }
      try #require(connected == 0)
      var answer = [UInt8](repeating: 0, count: 64)
      let greeting = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0] + Array("NULL".utf8) + [UInt8](repeating: 0, count: 48)
      let ready = [4, 28, 5] + Array("READY".utf8) + [11] + Array("Socket-Type".utf8) + [0, 0, 0, 6] + Array("DEALER".utf8)
      for part in [greeting + ready, said] {
        _ = part.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        // It has been heard when it is answered.
        if part.count != said.count { try #require(recv(descriptor, &answer, answer.count, Int32(MSG_WAITALL)) == answer.count) }
      }
      // All of it has arrived before the connection is reset, or there would be nothing to read.
      var unsent: Int32 = 1
      while unsent > 0 { try #require(ioctl(descriptor, UInt(TIOCOUTQ), &unsent) == 0) }
      var reset = linger(l_onoff: 1, l_linger: 0)
      setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &reset, socklen_t(MemoryLayout<linger>.size))
    }

    /// What the ROUTER reads until it has heard the friend, whose message is behind none of the other's.
    func readAll() throws -> Int {
      var others = 0
      var isHeard = false
      while !isHeard {
        guard let frames = try router.receive() else { continue }
        if frames.last == Frame(Array("friend".utf8)) { isHeard = true } else { others += 1 }
      }
      while try router.receive() != nil { others += 1 }
      return others
    }

    func close() {
      router.close()
      friend.close()
      context.terminate()
    }
  }

  private static let emptyMessages = [UInt8](repeating: 0, count: 2 * messages)

  @Test func aPingBehindAFullQueue() throws {
    for _ in 0..<20 {
      let ping = [4, 9, 4] + Array("PING".utf8) + [0, 100, 1, 2]
      let flooded = try Flooded(SocketOptions(), said: Self.emptyMessages + ping)
      defer { flooded.close() }
      #expect(try flooded.readAll() > 0)
    }
  }

  @Test func anOwnPingThatIsDue() throws {
    var options = SocketOptions()
    options.heartbeatInterval = .milliseconds(10)
    let flooded = try Flooded(options, said: Self.emptyMessages)
    defer { flooded.close() }
    // Nobody reads, so pings fall due; the friend's answers to its own show that the thread lives.
    let deadline = ContinuousClock.now + .milliseconds(500)
    while ContinuousClock.now < deadline { _ = try flooded.friend.receive() }
    #expect(try flooded.readAll() > 0)
  }

  /// A connection that breaks while its queue is full is noticed all the same, once somebody reads.
  @Test func whatWasSentBeforeArrives() throws {
    var options = SocketOptions()
    options.receiveHighWaterMark = 4
    let flooded = try Flooded(options, said: [UInt8](repeating: 0, count: 2 * 20))
    defer { flooded.close() }
    var read = try flooded.readAll()
    let deadline = ContinuousClock.now + .seconds(20)
    while read < 20, ContinuousClock.now < deadline { if try flooded.router.receive() != nil { read += 1 } }
    #expect(read == 20)
  }
}
