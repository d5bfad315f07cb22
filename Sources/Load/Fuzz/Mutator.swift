import SeededRandom
package import ZeroMQ

/// Damages messages, the same for the same seed: bits, bytes and lengths, whole frames, and fields of protobuf messages at any depth.
package struct Mutator {
  private static let maxDepth = 6
  /// Mutations of mutations grow no longer than this.
  private static let maxFrameBytes = 70_000

  private var random: SplitMix64
  private let corpus: [[Frame]]

  /// - Parameter corpus: at least one message of at least one frame.
  package init(seed: UInt64, corpus: [[Frame]]) {
    precondition(!corpus.isEmpty && corpus.allSatisfy { !$0.isEmpty }, "nothing to mutate")
    random = SplitMix64(seed: seed)
    self.corpus = corpus
  }

  /// A message of the corpus, damaged in one to four places.
  package mutating func next() -> [Frame] {
    var frames = corpus[below(corpus.count)]
    for _ in 0...below(4) { mutate(&frames) }
    return frames
  }

  private mutating func mutate(_ frames: inout [Frame]) {
    guard !frames.isEmpty else {
      frames = [Frame(noise(upTo: 16))]
      return
    }
    let index = below(frames.count)
    switch below(24) {
    case 0: frames.remove(at: index)
    case 1: if frames.count < 40 { frames.insert(frames[index], at: index) }
    case 2: frames.swapAt(index, below(frames.count))
    case 3:
      let other = corpus[below(corpus.count)]
      frames[index] = other[below(other.count)]
    case 4:
      // The head of one message and the tail of another.
      let other = corpus[below(corpus.count)]
      frames = Array(frames[...index]) + other[below(other.count)...]
    case 5...15:
      // The envelope is where most can go wrong; a tensor's header comes second.
      let target = below(3) == 0 ? index : 0
      if frames[target].count <= 4_096 { frames[target] = Frame(mutatedFields(frames[target].bytes, 0)) }
    default:
      let target = below(2) == 0 ? index : 0
      var bytes = frames[target].bytes
      mutate(&bytes)
      if bytes.count <= Self.maxFrameBytes { frames[target] = Frame(bytes) }
    }
  }

  // MARK: Bytes

  private mutating func mutate(_ bytes: inout [UInt8]) {
    guard !bytes.isEmpty else {
      bytes = noise(upTo: 16)
      return
    }
    let index = below(bytes.count)
    switch below(10) {
    case 0, 1: bytes[index] ^= 1 << UInt8(below(8))
    case 2: bytes[index] = UInt8(below(256))
    case 3: bytes[index] = [0, 1, 0x7F, 0x80, 0xFF][below(5)]
    // A length that is one off.
    case 4: bytes[index] = below(2) == 0 ? bytes[index] &+ 1 : bytes[index] &- 1
    case 5: bytes.removeSubrange(index...)
    case 6: bytes.removeSubrange(index..<min(bytes.count, index + 1 + below(8)))
    case 7: bytes.insert(contentsOf: noise(upTo: 8), at: index)
    case 8: bytes.insert(contentsOf: bytes[index..<min(bytes.count, index + 1 + below(64))], at: below(bytes.count))
    default:
      let other = corpus[below(corpus.count)]
      let donor = other[below(other.count)].bytes
      guard !donor.isEmpty else { return }
      let start = below(donor.count)
      bytes.replaceSubrange(index..., with: donor[start..<min(donor.count, start + 256)])
    }
  }

  private mutating func noise(upTo limit: Int) -> [UInt8] { (0..<below(limit + 1)).map { _ in UInt8(below(256)) } }

  // MARK: Fields

  /// A field of a protobuf message: its number and wire type, and its value as it is written.
  private struct Field {
    var number: UInt64
    var type: UInt64
    var value: [UInt8]
  }

  /// One field of a message changed, or one of a message in it. What is no message is changed as bytes.
  private mutating func mutatedFields(_ bytes: [UInt8], _ depth: Int) -> [UInt8] {
    guard var fields = Self.fields(bytes), !fields.isEmpty else {
      var bytes = bytes
      mutate(&bytes)
      return bytes
    }
    let index = below(fields.count)
    switch below(14) {
    case 0: fields.remove(at: index)
    case 1: fields.insert(fields[index], at: below(fields.count + 1))
    case 2: fields.swapAt(index, below(fields.count))
    // Many of one: lists grow, and messages are merged into each other.
    case 3: fields += Array(repeating: fields[index], count: 1 << below(8))
    case 4: fields[index].number = UInt64(below(2) == 0 ? below(90) : below(1 << 29))
    // Another wire type over the same bytes, also those that were never given out.
    case 5: fields[index].type = UInt64(below(8))
    case 6: fields.insert(Field(number: UInt64(60 + below(5_000)), type: 0, value: hugeNumber()), at: below(fields.count + 1))
    case 7: fields.insert(nested(1 + below(200)), at: index)
    default:
      switch fields[index].type {
      case 0: fields[index].value = hugeNumber()
      case 2 where depth < Self.maxDepth: fields[index].value = mutatedFields(fields[index].value, depth + 1)
      default: mutate(&fields[index].value)
      }
    }
    var result: [UInt8] = []
    for field in fields {
      result += Self.varint(field.number << 3 | field.type)
      if field.type == 2 { result += Self.varint(UInt64(bitPattern: Int64(field.value.count + (below(200) == 0 ? below(5) - 2 : 0)))) }
      result += field.value
      if result.count > Self.maxFrameBytes { break }
    }
    return result
  }

  /// A message in a message in a message.
  private mutating func nested(_ depth: Int) -> Field {
    let number = UInt64(1 + below(80))
    var value: [UInt8] = []
    for _ in 0..<depth { value = Self.varint(number << 3 | 2) + Self.varint(UInt64(value.count)) + value }
    return Field(number: number, type: 2, value: value)
  }

  private mutating func hugeNumber() -> [UInt8] {
    switch below(5) {
    case 0: Self.varint(UInt64.max >> UInt64(below(64)))
    case 1: Self.varint(1 << UInt64(below(64)))
    case 2: Self.varint(UInt64(below(300)))
    // Longer than a number may be.
    case 3: Array(repeating: 0xFF, count: 1 + below(12)) + [1]
    default: Self.varint(random.next())
    }
  }

  private static func varint(_ value: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = value
    while rest >= 128 {
      bytes.append(UInt8(rest & 127) | 128)
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }

  /// `nil` if the bytes cannot be a message.
  private static func fields(_ bytes: [UInt8]) -> [Field]? {
    var reader = ByteReader(bytes)
    var fields: [Field] = []
    while !reader.isAtEnd {
      guard let tag = reader.varint(), tag >> 3 > 0, let value = value(tag & 7, &reader) else { return nil }
      fields.append(Field(number: tag >> 3, type: tag & 7, value: value))
    }
    return fields
  }

  private static func value(_ type: UInt64, _ reader: inout ByteReader) -> [UInt8]? {
    switch type {
    case 0: return reader.varint().map(varint)
    case 1: return reader.take(8)
    case 2:
      guard let count = reader.varint(), count <= UInt64(Int.max) else { return nil }
      return reader.take(Int(count))
    case 5: return reader.take(4)
    default: return nil
    }
  }

  private mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &random) }
}

/// Takes bytes apart from their beginning.
struct ByteReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  var isAtEnd: Bool { rest.isEmpty }

  mutating func take(_ count: Int) -> [UInt8]? {
    guard count <= rest.count else { return nil }
    defer { rest = rest.dropFirst(count) }
    return Array(rest.prefix(count))
  }

  /// A 32-bit number, little-endian.
  mutating func word() -> Int? { take(4)?.reversed().reduce(0) { $0 << 8 | Int($1) } }

  /// A number as protobuf writes it.
  mutating func varint() -> UInt64? {
    var value: UInt64 = 0
    for shift in stride(from: 0, to: 64, by: 7) {
      guard let byte = rest.popFirst() else { return nil }
      value |= UInt64(byte & 127) << UInt64(shift)
      if byte < 128 { return value }
    }
    return nil
  }
}
