import Glibc
import Testing

@testable import ZeroMQ

@Suite(.timeLimit(.minutes(1))) struct SocketTests {
  @Test(arguments: ["inproc://echo", "tcp://127.0.0.1:*"])
  func roundTrip(endpoint: String) async throws {
    try await withLoop { loop, context in
      let router = try await TestPeer(loop, context, .router, bind: endpoint)
      let dealer = try await TestPeer(loop, context, .dealer, connect: try await router.endpoint)
      let big = Frame(count: 3_000_000) { for index in $0.indices { $0[index] = UInt8(truncatingIfNeeded: index &* 7) } }
      for message in [[Frame("a")], [Frame("a"), Frame([]), Frame("c")], [Frame([])], [Frame("head"), big, big]] {
        try await dealer.send(message)
        let received = try await router.next()
        #expect(received.count == message.count + 1)
        #expect(Array(received.dropFirst()) == message)
        try await router.send(received)
        #expect(try await dealer.next() == message)
      }
    }
  }

  @Test(arguments: ["inproc://large", "tcp://127.0.0.1:*"])
  func largeFrame(endpoint: String) async throws {
    try await withLoop { loop, context in
      let router = try await TestPeer(loop, context, .router, bind: endpoint)
      let dealer = try await TestPeer(loop, context, .dealer, connect: try await router.endpoint)
      let frame = Frame(count: 64 << 20) { $0.initializeMemory(as: UInt8.self, repeating: 42) }
      try await dealer.send([frame])
      #expect(try await router.next().last == frame)
    }
  }

  @Test func manyMessagesStayInOrder() async throws {
    try await withLoop { loop, context in
      let router = try await TestPeer(loop, context, .router, bind: "tcp://127.0.0.1:*")
      let dealer = try await TestPeer(loop, context, .dealer, connect: try await router.endpoint)
      async let received: [String] = {
        var texts: [String] = []
        while texts.count < 2000 { texts.append(try await router.next()[1].text) }
        return texts
      }()
      for index in 0..<2000 {
        if try await dealer.sendUntilFull([Frame("\(index)")], atMost: 1) == 0 {
          await dealer.writable()
          try await dealer.send("\(index)")
        }
      }
      #expect(try await received == (0..<2000).map(String.init))
    }
  }

  @Test func unknownPeerIsUnreachable() async throws {
    try await withLoop { loop, context in
      let router = try await TestPeer(loop, context, .router, bind: "inproc://mandatory")
      let dealer = try await TestPeer(loop, context, .dealer, connect: "inproc://mandatory")
      try await dealer.send("hello")
      let id = try await router.next()[0]
      let error = await #expect(throws: ZeroMQError.self) { try await router.send("nobody", "lost", "too") }
      #expect(error?.code == .hostUnreachable)
      // Nothing of the refused message is left in the way of the next one.
      try await router.send([id, Frame("welcome")])
      #expect(try await dealer.next().map(\.text) == ["welcome"])
    }
  }

  @Test func gonePeerIsUnreachable() async throws {
    try await withLoop { loop, context in
      let router = try await TestPeer(loop, context, .router, bind: "inproc://gone")
      let dealer = try await TestPeer(loop, context, .dealer, connect: "inproc://gone")
      try await dealer.send("hello")
      let id = try await router.next()[0]
      await dealer.close()
      // ZeroMQ's own threads take the connection down in the background.
      var code: ZeroMQError.Code?
      while code == nil {
        do { _ = try await router.sendUntilFull([id, Frame("?")], atMost: 1) } catch let error as ZeroMQError { code = error.code }
        await Task.yield()
      }
      #expect(code == .hostUnreachable)
    }
  }

  @Test func blocksAtHighWaterMark() async throws {
    try await withLoop { loop, context in
      var options = SocketOptions()
      options.sendHighWaterMark = 4
      options.receiveHighWaterMark = 4
      let router = try await TestPeer(loop, context, .router, options, bind: "inproc://hwm", reads: false)
      let dealer = try await TestPeer(loop, context, .dealer, options, connect: "inproc://hwm")
      let sent = try await dealer.sendUntilFull([Frame("x"), Frame("y")], atMost: 100)
      // Whole messages count; within one process both marks add up.
      #expect(sent == 8)
      await router.start()
      await dealer.writable()
      try await dealer.send("again")
      for _ in 0..<sent { #expect(try await router.next().count == 3) }
      #expect(try await router.next().last?.text == "again")
    }
  }

  @Test func slowPeerBlocksNotVanishes() async throws {
    try await withLoop { loop, context in
      var options = SocketOptions()
      options.sendHighWaterMark = 2
      options.receiveHighWaterMark = 2
      let router = try await TestPeer(loop, context, .router, options, bind: "inproc://slow")
      let dealer = try await TestPeer(loop, context, .dealer, options, connect: "inproc://slow", reads: false)
      try await dealer.send("hello")
      let id = try await router.next()[0]
      #expect(try await router.sendUntilFull([id, Frame("work")], atMost: 100) == 4)
      await dealer.start()
      for _ in 0..<4 { #expect(try await dealer.next().map(\.text) == ["work"]) }
    }
  }

  @Test func immediateQueuesNothingForNobody() async throws {
    try await withLoop { loop, context in
      var options = SocketOptions()
      options.immediate = true
      options.reconnect = .milliseconds(10)
      try await withDeafEndpoint { endpoint in
        let dealer = try await TestPeer(loop, context, .dealer, options, connect: endpoint)
        let error = await #expect(throws: ZeroMQError.self) { try await dealer.send("READY") }
        #expect(error?.code == .wouldBlock)
      }
    }
  }

  @Test func becomesWritableOnceConnected() async throws {
    try await withLoop { loop, context in
      var options = SocketOptions()
      options.immediate = true
      let router = try await TestPeer(loop, context, .router, bind: "tcp://127.0.0.1:*")
      let dealer = try await TestPeer(loop, context, .dealer, options, connect: try await router.endpoint)
      await dealer.writable()
      try await dealer.send("READY")
      #expect(try await router.next().last?.text == "READY")
    }
  }

  @Test func oversizedFrameEndsTheConnection() async throws {
    try await withLoop { loop, context in
      var options = SocketOptions()
      options.maxFrameBytes = 1000
      let router = try await TestPeer(loop, context, .router, options, bind: "tcp://127.0.0.1:*")
      var eager = SocketOptions()
      eager.reconnect = .milliseconds(5)
      let dealer = try await TestPeer(loop, context, .dealer, eager, connect: try await router.endpoint)
      try await dealer.send([Frame(count: 2000) { $0.initializeMemory(as: UInt8.self, repeating: 0) }])
      async let answer = dealer.sendUntilAnswered([Frame("small")], every: .milliseconds(10))
      let received = try await router.next()
      #expect(received.last?.text == "small")
      try await router.send([received[0], Frame("yes")])
      #expect(try await answer.map(\.text) == ["yes"])
    }
  }

  @Test func tooManyFramesAreThrownAway() async throws {
    try await withLoop { loop, context in
      var options = SocketOptions()
      options.maxFrames = 5
      let router = try await TestPeer(loop, context, .router, options, bind: "inproc://frames")
      let dealer = try await TestPeer(loop, context, .dealer, connect: "inproc://frames")
      let kept = Frame(count: 10_000) { $0.initializeMemory(as: UInt8.self, repeating: 1) }
      try await dealer.send(Array(repeating: kept, count: 5))
      let error = await #expect(throws: ZeroMQError.self) { try await router.next() }
      #expect(error?.code == .tooManyFrames)
      try await dealer.send(Array(repeating: kept, count: 4))
      #expect(try await router.next().count == 5)
    }
  }

  @Test func routingIDIsSeen() async throws {
    try await withLoop { loop, context in
      let router = try await TestPeer(loop, context, .router, bind: "inproc://id")
      var options = SocketOptions()
      options.routingID = Array("worker-7".utf8)
      let dealer = try await TestPeer(loop, context, .dealer, options, connect: "inproc://id")
      try await dealer.send("hello")
      #expect(try await router.next().map(\.text) == ["worker-7", "hello"])
    }
  }

  // MARK: No copies

  @Test func receiverSeesTheSendersMemory() async throws {
    try await withLoop { loop, context in
      let router = try await TestPeer(loop, context, .router, bind: "inproc://memory")
      let dealer = try await TestPeer(loop, context, .dealer, connect: "inproc://memory")
      let frame = Frame(count: 100_000) { $0.initializeMemory(as: UInt8.self, repeating: 9) }
      try await dealer.send([frame])
      let received = try await router.next()[1]
      let addresses = [frame, received].map { $0.withUnsafeBytes { UInt(bitPattern: $0.baseAddress) } }
      #expect(addresses[0] == addresses[1])
    }
  }

  @Test(arguments: ["inproc://freed", "tcp://127.0.0.1:*"])
  func sentFramesAreFreed(endpoint: String) async throws {
    let sent = Weak()
    let received = Weak()
    try await withLoop { loop, context in
      let router = try await TestPeer(loop, context, .router, bind: endpoint)
      let dealer = try await TestPeer(loop, context, .dealer, connect: try await router.endpoint)
      for size in [10, 5000, 100_000, 1_000_000] {
        let frame = Frame(count: size) { $0.initializeMemory(as: UInt8.self, repeating: 1) }
        sent.add(frame)
        try await dealer.send([frame, frame])
        for frame in try await router.next() { received.add(frame) }
      }
      await dealer.close()
      await router.close()
      // It waits for ZeroMQ's threads, which free what was sent.
      context.terminate()
    }
    #expect(sent.alive == 0)
    #expect(received.alive == 0)
  }

  @Test func refusedFramesAreFreed() async throws {
    let refused = Weak()
    try await withLoop { loop, context in
      let router = try await TestPeer(loop, context, .router, bind: "inproc://refused")
      for size in [10, 100_000] {
        let frame = Frame(count: size) { $0.initializeMemory(as: UInt8.self, repeating: 1) }
        refused.add(frame)
        await #expect(throws: ZeroMQError.self) { try await router.send([frame, frame]) }
      }
    }
    #expect(refused.alive == 0)
  }

  /// Counts frames that are still there.
  private final class Weak: @unchecked Sendable {
    private struct Reference { weak var frame: Frame? }
    private var references: [Reference] = []
    func add(_ frame: Frame) { references.append(Reference(frame: frame)) }
    var alive: Int { references.count { $0.frame != nil } }
  }

  // MARK: Errors

  @Test func errorsNameWhatWasWrong() async throws {
    let context = try Context()
    let router = try Socket(context, .router)
    try router.bind("tcp://127.0.0.1:*")
    let endpoint = try router.lastEndpoint
    let other = try Socket(context, .router)
    let cases: [(String, ZeroMQError.Code)] = [
      (endpoint, .addressInUse), ("127.0.0.1:7710", .invalidEndpoint), ("gopher://x", .invalidEndpoint), ("", .invalidEndpoint),
      ("tcp://127.0.0.1:99999", .invalidEndpoint), ("tcp://127.0.0.1", .invalidEndpoint), ("tcp://203.0.113.1:7710", .addressNotAvailable),
    ]
    for (endpoint, code) in cases {
      let error = #expect(throws: ZeroMQError.self) { try other.bind(endpoint) }
      #expect(error?.code == code, "\(endpoint): \(String(describing: error))")
      #expect(error?.description.contains(endpoint) == true)
    }
    let dealer = try Socket(context, .dealer)
    #expect(#expect(throws: ZeroMQError.self) { try dealer.connect("nonsense") }?.code == .invalidEndpoint)
    dealer.close()
    dealer.close()
    #expect(#expect(throws: ZeroMQError.self) { try dealer.send([Frame("x")]) }?.code == .terminated)
    #expect(#expect(throws: ZeroMQError.self) { try dealer.receive() }?.code == .terminated)
    #expect(#expect(throws: ZeroMQError.self) { try dealer.bind("inproc://x") }?.code == .terminated)
  }

  @Test func terminatedContextMakesNoSockets() throws {
    let context = try Context()
    context.terminate()
    #expect(#expect(throws: ZeroMQError.self) { try Socket(context, .dealer) }?.code == .terminated)
  }

  @Test func badOptionIsReported() throws {
    let context = try Context()
    var options = SocketOptions()
    options.routingID = []
    #expect(throws: ZeroMQError.self) { try Socket(context, .dealer, options) }
  }

  @Test func millisecondsRoundUpAndClamp() {
    #expect(milliseconds(.zero) == 0)
    #expect(milliseconds(.nanoseconds(1)) == 1)
    #expect(milliseconds(.milliseconds(7)) == 7)
    #expect(milliseconds(.seconds(-1)) == 0)
    #expect(milliseconds(.seconds(1 << 40)) == .max)
  }
}

/// With a TCP endpoint whose port is taken, and where nobody listens: who connects is refused.
private func withDeafEndpoint(_ body: (String) async throws -> Void) async throws {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
  var size = socklen_t(MemoryLayout<sockaddr_in>.size)
  let isBound = withUnsafeMutableBytes(of: &address) { bytes in
    let pointer = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self)
    return bind(descriptor, pointer, size) == 0 && getsockname(descriptor, pointer, &size) == 0
  }
  try #require(isBound)
  try await body("tcp://127.0.0.1:\(UInt16(bigEndian: address.sin_port))")
}
