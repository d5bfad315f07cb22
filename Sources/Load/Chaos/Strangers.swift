import Client
import Glibc
import SeededRandom
import Synchronization
import Wire
import ZeroMQ

/// Damaged messages from peers with good keys, peers with wrong keys or none, and bytes that are no messages at all, at a fleet at work.
func strangers(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let corpus = try await Recording.record()
  let assertion = KnownAssertion()
  var settings = settings
  settings.log = { [log = settings.log] line in
    assertion.note(line)
    log(line)
  }
  let seed = settings.seed
  let options = ["--max-open-tasks", "10000", "--max-tenant-tasks", "2000"]
  return try await ChaosFleet.with(settings, .init(stepMilliseconds: 2, brokerOptions: options, hasKeys: true)) { fleet in
    let keys = try fleet.keys()
    let broker = try await fleet.runningBroker()
    let loop = try SocketLoop(name: "storm")
    defer { loop.stop() }
    let storm = try FrameStorm(
      at: fleet.endpoint, corpus: corpus, seed: seed, connections: 2, keys: (keys.stranger, keys.workers), on: loop)
    let before = await fleet.brokerMemory()
    let turnedAway = Mutex(0)
    let report = try await fleet.loaded(steps: [6, 4, 2], concurrency: 3) { _ in
      var random = SplitMix64(seed: seed)
      for part in 1...10 {
        try await storm.send(part * 20_000)
        let count = try await knock(fleet.endpoint, keys)
        turnedAway.withLock { $0 += count }
        for _ in 0..<20 { shout(fleet.endpoint, using: &random) }
      }
    }
    let (frames, after) = (await storm.frames, await fleet.brokerMemory())
    await storm.stop()
    try expect(try await fleet.runningBroker() == broker || assertion.wasSeen, "the broker ended and was started again")
    try expect(after - before < 128, "the broker grew from \(before) to \(after) MiB")
    return [
      "images": Double(report.images), "frames": Double(frames), "turned_away": Double(turnedAway.withLock { $0 }),
      "broker_mib_before": before, "broker_mib_after": after,
    ]
  }
}

/// libzmq 4.3.4 ends a program now and then where connections break off in the middle of a handshake; the supervisor starts it again.
private final class KnownAssertion: Sendable {
  private let seen = Mutex(false)

  var wasSeen: Bool { seen.withLock { $0 } }

  func note(_ line: String) {
    if line.hasPrefix("broker | Assertion failed: !_io_error") { seen.withLock { $0 = true } }
  }
}

/// Asks for the jobs without the right to.
///
/// - Returns: how many were turned away, which all have to be.
private func knock(_ endpoint: String, _ keys: ChaosFleet.KeyRing) async throws -> Int {
  let context = try Context()
  defer { context.terminate() }
  let unknown = try CurveKeyPair.generate()
  let callers: [(what: String, curve: SocketOptions.Curve?)] = [
    ("no key", nil), ("a key that is not on the list", .client(unknown, server: keys.clients.server)),
    ("a wrong key of the broker", .client(keys.clients.pair, server: unknown.publicKey)),
    ("a worker's key", .client(keys.workers.pair, server: keys.workers.server)),
  ]
  var sockets: [Socket] = []
  defer { for socket in sockets { socket.close() } }
  for caller in callers {
    var options = SocketOptions()
    options.curve = caller.curve
    let socket = try Socket(context, .dealer, options)
    sockets.append(socket)
    try socket.connect(endpoint)
    try socket.send(try WireCodec.encode(.status(nil, limit: 100), request: 1))
  }
  try await Task.sleep(for: .milliseconds(200))
  for (caller, socket) in zip(callers, sockets) {
    // A worker may ask where workers connect, and nothing else.
    guard let answer = try socket.receive() else { continue }
    guard case .refused? = try? WireCodec.decodeClientReply(answer).1 else { throw Broken("a client with \(caller.what) was answered") }
  }
  return callers.count
}

/// Connects and sends what ZeroMQ does not speak, or begins to speak and breaks off.
private func shout(_ endpoint: String, using random: inout SplitMix64) {
  guard let port = endpoint.split(separator: ":").last.flatMap({ UInt16($0) }) else { return }
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
  defer { close(descriptor) }
  guard FaultyNetwork.withAddress("127.0.0.1", port, { connect(descriptor, $0, $1) }) == 0 else { return }
  let greeting: [UInt8] = [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3, 0] + Array("NULL".utf8) + Array(repeating: 0, count: 48)
  let noise = (0..<Int.random(in: 1...2_000, using: &random)).map { _ in UInt8.random(in: .min ... .max, using: &random) }
  // A frame that claims to be as long as any can be.
  let huge: [UInt8] = [2] + Array(repeating: 0x7F, count: 8)
  let words =
    [noise, Array(greeting.prefix(noise.count % 64)), greeting + noise, greeting + huge + noise].randomElement(using: &random) ?? []
  _ = words.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
}
