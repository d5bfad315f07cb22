import SeededRandom
import ZeroMQ

/// What a connection may say below the layer of messages: greetings, handshakes and frames of ZMTP (ZeroMQ RFC 23), damaged in every place, and
/// what does not even begin like that. The same for the same seed.
struct RawBytes {
  private static let frame: UInt8 = 0
  private static let more: UInt8 = 1
  private static let long: UInt8 = 2
  private static let command: UInt8 = 4
  /// A few are enough, and a receive queue that is full is another matter: see `SocketOptions.heartbeatInterval`.
  private static let maxMessages = 8

  private var random: SplitMix64
  private let corpus: [[Frame]]

  init(seed: UInt64, corpus: [[Frame]]) {
    random = SplitMix64(seed: seed)
    self.corpus = corpus
  }

  /// All that one connection says.
  mutating func next() -> [UInt8] {
    switch below(12) {
    case 0: return noise(upTo: 300)
    case 1: return Array("GET / HTTP/1.1\r\nHost: weir\r\n\r\n".utf8) + noise(upTo: 100)
    // A connection that TLS begins.
    case 2: return [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3] + noise(upTo: 500)
    case 3: return Array(greeting().prefix(below(65)))
    case 4: return damaged(greeting()) + noise(upTo: 200)
    // The protocol's first and second versions.
    case 5: return [1, 0] + damaged(messages())
    case 6: return [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, 5, 0, 0] + damaged(messages())
    case 7: return greeting(["PLAIN", "CURVE", "GSSAPI", ""][below(4)]) + short(Self.command, name("HELLO") + noise(upTo: 240))
    case 8: return greeting() + damaged(ready())
    case 9: return greeting() + ready() + hugeFrame() + noise(upTo: 100)
    case 10:
      // Nobody ends this message.
      return greeting() + ready() + (0..<below(200)).flatMap { _ in short(Self.more, noise(upTo: 4)) }
    default:
      let said = greeting() + ready() + odd() + messages()
      return below(2) == 0 ? said : greeting() + ready() + damaged(odd() + messages())
    }
  }

  // MARK: Parts

  private func greeting(_ mechanism: String = "NULL") -> [UInt8] {
    let name = Array(mechanism.utf8)
    return [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0] + name + [UInt8](repeating: 0, count: 20 - name.count + 32)
  }

  private mutating func ready() -> [UInt8] {
    let types = ["DEALER", "DEALER", "DEALER", "REQ", "ROUTER", "PUB", "NONE"]
    var body = name("READY") + property("Socket-Type", Array(types[below(types.count)].utf8))
    if below(3) == 0 { body += property("Identity", noise(upTo: 40)) }
    if below(8) == 0 { body += name("Socket-Type") + [0xff, 0xff, 0xff, UInt8(below(256))] }
    return short(Self.command, Array(body.prefix(255)))
  }

  /// A frame that announces more than there is, or than anybody has.
  private mutating func hugeFrame() -> [UInt8] {
    let sizes: [UInt64] = [1 << 16, 1 << 16 + 1, 64 << 20, 64 << 20 + 1, 1 << 31, 1 << 32, 1 << 40, 1 << 63, .max, .max - 8]
    let size = below(3) == 0 ? random.next() >> UInt64(below(64)) : sizes[below(sizes.count)]
    return [Self.long | [Self.frame, Self.more, Self.command][below(3)]] + (0..<8).map { UInt8(truncatingIfNeeded: size >> (56 - 8 * $0)) }
  }

  /// Commands that are cut short or unknown, and flags that nobody gave out.
  private mutating func odd() -> [UInt8] {
    switch below(6) {
    case 0: return short(Self.command, name("PING") + noise(upTo: 20))
    case 1: return short(Self.command, name("PONG") + noise(upTo: 20))
    case 2: return short(Self.command, name("SUBSCRIBE") + noise(upTo: 20))
    case 3: return short(Self.command, [UInt8(below(256))] + noise(upTo: 8))
    case 4: return short(UInt8(below(256)), noise(upTo: 8))
    default: return []
    }
  }

  private mutating func messages() -> [UInt8] {
    var bytes: [UInt8] = []
    for _ in 0..<below(Self.maxMessages) {
      let frames = corpus[below(corpus.count)]
      for (index, frame) in frames.enumerated() {
        let flags = index + 1 < frames.count ? Self.more : Self.frame
        if frame.count < 256 {
          bytes += short(flags, frame.bytes)
        } else {
          bytes += [flags | Self.long] + (0..<8).map { UInt8(truncatingIfNeeded: frame.count >> (56 - 8 * $0)) } + frame.bytes
        }
      }
    }
    return bytes
  }

  private func short(_ flags: UInt8, _ body: [UInt8]) -> [UInt8] { [flags & ~Self.long, UInt8(body.count)] + body }
  private func name(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }
  private func property(_ key: String, _ value: [UInt8]) -> [UInt8] { name(key) + [0, 0, 0, UInt8(value.count)] + value }

  // MARK: Damage

  private mutating func damaged(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    for _ in 0...below(3) where !bytes.isEmpty {
      let index = below(bytes.count)
      switch below(5) {
      case 0: bytes[index] ^= 1 << UInt8(below(8))
      case 1: bytes[index] = [0, 1, 0x7f, 0x80, 0xff][below(5)]
      case 2: bytes.removeSubrange(index...)
      case 3: bytes.insert(contentsOf: noise(upTo: 8), at: index)
      default: bytes.remove(at: index)
      }
    }
    return bytes
  }

  private mutating func noise(upTo limit: Int) -> [UInt8] { (0..<below(limit + 1)).map { _ in UInt8(below(256)) } }
  private mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &random) }
}
