import Testing
import Wire
import ZeroMQ

@testable import Broker

struct OutboxTests {
  /// A ROUTER with an outbox and a DEALER that said hello to it.
  struct Link {
    let context: Context
    let router: Socket
    let dealer: Socket
    let outbox: Outbox
    let peer: PeerID

    init() throws {
      context = try Context()
      var options = SocketOptions()
      options.sendHighWaterMark = 2
      router = try Socket(context, .router, options)
      try router.bind("tcp://127.0.0.1:*")
      dealer = try Socket(context, .dealer, options)
      try dealer.connect(try router.lastEndpoint)
      try dealer.send([Frame([1])])
      var hello: [Frame]?
      while hello == nil { hello = try router.receive() }
      peer = PeerID(hello?.first?.bytes ?? [])
      outbox = Outbox(router, maxBytesPerPeer: 64 << 20)
    }

    func close() {
      router.close()
      dealer.close()
      context.terminate()
    }
  }

  static let size = 1 << 20
  let start = ContinuousClock.now

  @Test func aSlowPeerGetsEverythingInOrder() throws {
    let link = try Link()
    defer { link.close() }
    // More than all queues on the way hold.
    for number in 0..<40 as Range<UInt8> {
      #expect(link.outbox.send([Frame(Array(repeating: number, count: Self.size))], to: link.peer, at: start) == .accepted)
    }
    #expect(!link.outbox.isEmpty)
    var received: [UInt8] = []
    while received.count < 40 {
      #expect(link.outbox.retry(at: start).isEmpty)
      if let frames = try link.dealer.receive() { received.append(frames[0].bytes[0]) }
    }
    #expect(received == Array(0..<40))
    #expect(link.outbox.isEmpty)
  }

  @Test func aPeerThatNeverReadsTakesBoundedMemory() throws {
    let link = try Link()
    defer { link.close() }
    let frame = Frame(Array(repeating: 0, count: Self.size))
    var accepted = 0
    while accepted < 200, link.outbox.send([frame], to: link.peer, at: start) == .accepted { accepted += 1 }
    #expect(accepted >= 63 && accepted < 200)
    link.outbox.forget(link.peer)
    #expect(link.outbox.isEmpty)
  }

  /// ZeroMQ's queue counts messages, and three images of 16 MiB are three.
  @Test func whatZeroMQHoldsIsCounted() throws {
    let link = try Link()
    defer { link.close() }
    let tensor = Frame(Array(repeating: 0, count: 16 * Self.size))
    for _ in 0..<3 { #expect(link.outbox.send([Frame([1]), tensor], to: link.peer, at: start) == .accepted) }
    // The kernel takes some of the first one.
    #expect(link.outbox.bytes(to: link.peer) >= 32 * Self.size && link.outbox.totalBytes == link.outbox.bytes(to: link.peer))
    var received = 0
    while received < 3 {
      #expect(link.outbox.retry(at: start).isEmpty)
      if try link.dealer.receive() != nil { received += 1 }
    }
    let deadline = ContinuousClock.now + .seconds(30)
    while link.outbox.totalBytes > 0, ContinuousClock.now < deadline {}
    #expect(link.outbox.totalBytes == 0)
    // What was on its way to somebody who goes is let go.
    #expect(link.outbox.send([Frame([1]), tensor], to: link.peer, at: start) == .accepted)
    link.dealer.close()
    while link.outbox.totalBytes > 0, ContinuousClock.now < deadline { _ = link.outbox.retry(at: start + .seconds(20)) }
    #expect(link.outbox.totalBytes == 0)
  }

  /// Larger than all that may wait, but one of it may.
  @Test func aSingleMessageAlwaysHasRoom() throws {
    let link = try Link()
    defer { link.close() }
    let outbox = Outbox(link.router, maxBytesPerPeer: Self.size)
    let large = Frame(Array(repeating: 0, count: 8 * Self.size))
    while outbox.isEmpty { #expect(outbox.send([large], to: link.peer, at: start) == .accepted) }
    #expect(outbox.send([large], to: link.peer, at: start) == .full)
    #expect(outbox.send([Frame([1])], to: link.peer, at: start) == .full)
  }

  @Test func ofNewsThatWaitOnlyTheLastIsKept() throws {
    let link = try Link()
    defer { link.close() }
    var sent = 0
    while link.outbox.isEmpty {
      _ = link.outbox.send([Frame(Array(repeating: 0, count: Self.size))], to: link.peer, at: start)
      sent += 1
    }
    for number in 1...200 as ClosedRange<UInt8> {
      #expect(link.outbox.send([Frame([1, number])], to: link.peer, replacing: 7, at: start) == .accepted)
      if number == 100 { #expect(link.outbox.send([Frame([2])], to: link.peer, at: start) == .accepted) }
      if number == 150 { #expect(link.outbox.send([Frame([3, number])], to: link.peer, replacing: 8, at: start) == .accepted) }
    }
    #expect(link.outbox.bytes(to: link.peer) < Self.size + 2_000)
    var received: [[UInt8]] = []
    while received.count < sent + 3 {
      #expect(link.outbox.retry(at: start).isEmpty)
      if let frames = try link.dealer.receive() { received.append(frames[0].bytes) }
    }
    #expect(Array(received.suffix(3)) == [[1, 200], [2], [3, 150]])
    #expect(link.outbox.isEmpty && link.outbox.bytes(to: link.peer) == 0)
  }

  @Test func imagesWaitInOrderWithinALimit() {
    var queues = ImageQueues()
    func entry(_ request: UInt64) -> ImageQueues.Entry {
      let key = TensorKey(job: JobID(rawValue: 1), sample: UInt32(request), stage: 0)
      guard let digest = ContentDigest([UInt8](repeating: 0, count: 32)) else { fatalError("32 bytes are a digest") }
      return .init(request: request, order: ImageOrder(key: key, label: 0, seed: 0, digest: digest, numerics: "", stage: ""))
    }
    let added = (0..<UInt64(ImageQueues.limit) + 1).map { queues.add(entry($0), for: "a") }
    #expect(added.count(where: { $0 }) == ImageQueues.limit && added.last == false)
    let other = queues.add(entry(1), for: "b")
    #expect(other, "one client's queue is not another's")
    let taken = [queues.takeFirst(for: "a")?.request, queues.takeFirst(for: "a")?.request]
    #expect(taken == [0, 1])
    queues.remove("a")
    let gone = queues.takeFirst(for: "a")
    #expect(gone == nil && queues.peers == ["b"])
    _ = queues.takeFirst(for: "b")
    #expect(queues.isEmpty)
  }

  @Test func aPeerThatIsGoneOrTakesNothingIsReported() throws {
    let link = try Link()
    defer { link.close() }
    #expect(link.outbox.send([Frame([1])], to: "nobody", at: start) == .gone)
    let frame = Frame(Array(repeating: 0, count: Self.size))
    // More than the connection's own buffers hold, which fill bit by bit.
    while link.outbox.bytes(to: link.peer) < 32 * Self.size { _ = link.outbox.send([frame], to: link.peer, at: start) }
    var now = start
    var gone: [PeerID] = []
    while gone.isEmpty, !link.outbox.isEmpty {
      let waiting = link.outbox.bytes(to: link.peer)
      now += Outbox.patience - .milliseconds(1)
      #expect(link.outbox.retry(at: now).isEmpty)
      guard link.outbox.bytes(to: link.peer) == waiting else { continue }
      now += .milliseconds(1)
      gone = link.outbox.retry(at: now)
      #expect(link.outbox.bytes(to: link.peer) < waiting)
    }
    #expect(gone == [link.peer])
    #expect(link.outbox.isEmpty)
  }
}
