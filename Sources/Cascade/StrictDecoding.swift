/// Decoding that refuses keys it does not know, so that a misspelt one cannot be overlooked.
extension Decoder {
  func strict<Key: CodingKey & CaseIterable>(_ keys: Key.Type) throws -> KeyedDecodingContainer<Key> {
    let known = Key.allCases.map(\.stringValue)
    let unknown = try container(keyedBy: AnyKey.self).allKeys.map(\.stringValue).filter { !known.contains($0) }.sorted()
    guard unknown.isEmpty else {
      throw DecodingError.dataCorrupted(
        .init(
          codingPath: codingPath,
          debugDescription:
            "unknown key \(unknown.map { "\"\($0)\"" }.joined(separator: ", ")); known keys are \(known.joined(separator: ", "))"
        ))
    }
    return try container(keyedBy: keys)
  }
}

extension KeyedDecodingContainer {
  /// One of a fixed set of words.
  func choice<Choice: CaseIterable & RawRepresentable<String>>(_ type: Choice.Type, forKey key: Key) throws -> Choice {
    let text = try decode(String.self, forKey: key)
    guard let choice = Choice(rawValue: text) else {
      throw problem(key, "\"\(text)\" is not one of \(Choice.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", "))")
    }
    return choice
  }

  /// A number within a range.
  func number(_ range: ClosedRange<Int>, forKey key: Key) throws -> Int {
    // Read as Double first: the decoder's own error for 1.5 or 1e30 says neither where nor what it is.
    let value = try decode(Double.self, forKey: key)
    guard let whole = Int(exactly: value), range.contains(whole) else {
      let shown = Int(exactly: value).map { String($0) } ?? String(value)
      throw problem(key, "\(shown) is not a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return whole
  }

  func number(_ range: ClosedRange<Double>, forKey key: Key) throws -> Double {
    let value = try decode(Double.self, forKey: key)
    guard range.contains(value) else { throw problem(key, "\(value) is not in \(range.lowerBound) to \(range.upperBound)") }
    return value
  }

  /// A name that can be part of a file name and of a command line.
  func name(forKey key: Key) throws -> String {
    let text = try decode(String.self, forKey: key)
    let allowed = text.utf8.allSatisfy { byte in
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        || [UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-")].contains(byte)
    }
    guard allowed, (1...64).contains(text.utf8.count), !text.hasPrefix("."), !text.hasPrefix("-") else {
      throw problem(key, "\"\(text)\" is not a name: 1 to 64 letters, digits, \".\", \"_\" or \"-\", not beginning with \".\" or \"-\"")
    }
    return text
  }

  func problem(_ key: Key, _ message: String) -> DecodingError {
    DecodingError.dataCorruptedError(forKey: key, in: self, debugDescription: message)
  }
}

/// `stages[1].sampler.steps`
func keyPath(_ path: [any CodingKey]) -> String {
  var text = ""
  for key in path {
    if let index = key.intValue {
      text += "[\(index)]"
    } else {
      text += (text.isEmpty ? "" : ".") + key.stringValue
    }
  }
  return text
}

private struct AnyKey: CodingKey {
  let stringValue: String
  let intValue: Int?

  init?(stringValue: String) {
    self.stringValue = stringValue
    self.intValue = nil
  }

  init?(intValue: Int) {
    self.stringValue = String(intValue)
    self.intValue = intValue
  }
}
