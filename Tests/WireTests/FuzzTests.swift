import SeededRandom
import Testing
import Wire
import ZeroMQ

/// Real messages, damaged: decoding throws or gives a message that survives another trip; it never crashes.
@Suite struct FuzzTests {
  @Test func damagedMessages() throws {
    var corpus: [(AnyMessage.Kind, [Frame])] = []
    for seed in 0..<10 as Range<UInt64> {
      var random = SplitMix64(seed: seed)
      for message in AnyMessage.oneOfEach(&random) { corpus.append((message.kind, try message.encode())) }
    }
    var decoded = 0
    for seed in 0..<20_000 as Range<UInt64> {
      var random = SplitMix64(seed: seed)
      var (kind, frames) = corpus[random.below(corpus.count)]
      for _ in 0...random.below(3) { damage(&frames, with: corpus[random.below(corpus.count)].1, &random) }
      if random.below(20) == 0 { kind = AnyMessage.Kind.allCases[random.below(4)] }
      guard let message = try? AnyMessage.decode(frames, as: kind) else { continue }
      decoded += 1
      let again = try AnyMessage.decode(try message.encode(), as: kind)
      #expect(again == message, "seed \(seed)")
    }
    // Both outcomes are exercised.
    #expect((1000...19_000).contains(decoded), "\(decoded) were decoded")
  }

  private func damage(_ frames: inout [Frame], with other: [Frame], _ random: inout SplitMix64) {
    guard !frames.isEmpty else {
      frames = other
      return
    }
    let index = random.below(frames.count)
    switch random.below(20) {
    case 0: frames.remove(at: index)
    case 1: frames.insert(frames[index], at: index)
    case 2: frames.swapAt(index, random.below(frames.count))
    case 3: frames.append(other[random.below(other.count)])
    default:
      // The envelope is where most can go wrong.
      let target = random.flag() ? 0 : index
      var bytes = frames[target].bytes
      damage(&bytes, with: other[0].bytes, &random)
      frames[target] = Frame(bytes)
    }
  }

  private func damage(_ bytes: inout [UInt8], with other: [UInt8], _ random: inout SplitMix64) {
    guard !bytes.isEmpty else {
      bytes = random.bytes(random.below(8))
      return
    }
    let index = random.below(bytes.count)
    switch random.below(9) {
    case 0: bytes[index] ^= 1 << UInt8(random.below(8))
    case 1: bytes[index] = UInt8.random(in: 0...255, using: &random)
    case 2: bytes[index] = [0, 1, 0x7F, 0x80, 0xFF][random.below(5)]
    case 3: bytes.removeSubrange(index...)
    case 4: bytes.removeSubrange(index..<min(bytes.count, index + 1 + random.below(8)))
    case 5: bytes.insert(contentsOf: random.bytes(1 + random.below(8)), at: index)
    case 6: bytes.insert(contentsOf: bytes[index..<min(bytes.count, index + 40)], at: random.below(bytes.count))
    case 7:
      // A length or number becomes huge.
      bytes.replaceSubrange(index...index, with: [UInt8](repeating: 0xFF, count: random.below(10)) + [0x01])
    default:
      guard !other.isEmpty else { return }
      let start = random.below(other.count)
      bytes.insert(contentsOf: other[start..<min(other.count, start + 60)], at: index)
    }
  }
}
