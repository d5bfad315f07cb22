/// What a safetensors header says of one tensor.
struct SafetensorsEntry: Hashable, Sendable {
  var name: String
  var dtype: DType
  var shape: [Int]
  /// Offsets into the data part.
  var range: Range<Int>
}

/// A header that isn't what the format asks for; `SafetensorsError` adds the file's name.
struct SafetensorsHeaderError: Error {
  var code: SafetensorsError.Code
  var message: String
}

/// The JSON header: an object of tensors, `{"dtype": D, "shape": [n...], "data_offsets": [begin, end]}` each, and optionally
/// `__metadata__`, an object of strings. Anything else is refused, and so is any key twice.
struct SafetensorsHeader {
  /// In the order of their data.
  var entries: [SafetensorsEntry]
  var metadata: [String: String]

  static let metadataKey = "__metadata__"
  /// More than any tensor of ours has; bounds what a hostile shape costs.
  static let maxRank = 16

  static func name(of dtype: DType) -> String {
    switch dtype {
    case .f32: "F32"
    case .bf16: "BF16"
    case .f16: "F16"
    case .i64: "I64"
    case .u8: "U8"
    case .f64: "F64"
    case .bool: "BOOL"
    }
  }

  /// `dataCount`: bytes after the header, all of which the tensors must cover, each byte once.
  init(parsing bytes: UnsafeRawBufferPointer, dataCount: Int) throws(SafetensorsHeaderError) {
    var parser = HeaderParser(bytes: bytes)
    var entries: [SafetensorsEntry] = []
    var names: Set<String> = []
    var metadata: [String: String] = [:]
    try parser.object { parser, key throws(SafetensorsHeaderError) in
      guard names.insert(key).inserted else {
        throw SafetensorsHeaderError(code: .badHeader, message: "the header names '\(key)' twice")
      }
      if key == Self.metadataKey {
        try parser.object { parser, key throws(SafetensorsHeaderError) in
          let text = try parser.string()
          guard metadata.updateValue(text, forKey: key) == nil else {
            throw SafetensorsHeaderError(code: .badHeader, message: "the header's metadata names '\(key)' twice")
          }
        }
      } else {
        entries.append(try Self.entry(named: key, &parser))
      }
    }
    try parser.end()
    entries.sort { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
    try Self.checkCoverage(entries, dataCount: dataCount)
    self.entries = entries
    self.metadata = metadata
  }

  private static func entry(named name: String, _ parser: inout HeaderParser) throws(SafetensorsHeaderError) -> SafetensorsEntry {
    var typeName: String?
    var shape: [Int]?
    var offsets: [Int]?
    try parser.object { parser, key throws(SafetensorsHeaderError) in
      let isNew: Bool
      switch key {
      case "dtype":
        isNew = typeName == nil
        typeName = try parser.string()
      case "shape":
        isNew = shape == nil
        shape = try parser.integers(atMost: maxRank)
      case "data_offsets":
        isNew = offsets == nil
        offsets = try parser.integers(atMost: 2)
      default:
        throw SafetensorsHeaderError(code: .badHeader, message: "tensor '\(name)' has an unknown property '\(key)'")
      }
      guard isNew else {
        throw SafetensorsHeaderError(code: .badHeader, message: "tensor '\(name)' has '\(key)' twice")
      }
    }
    guard let typeName, let shape, let offsets, offsets.count == 2 else {
      throw SafetensorsHeaderError(code: .badTensor, message: "tensor '\(name)' needs dtype, shape and two data_offsets")
    }
    guard let dtype = DType.allCases.first(where: { Self.name(of: $0) == typeName }) else {
      throw SafetensorsHeaderError(
        code: .badTensor, message: "tensor '\(name)' has type '\(typeName)'; F64, F32, F16, BF16, I64, U8 and BOOL can be read")
    }
    guard offsets[0] <= offsets[1] else {
      throw SafetensorsHeaderError(code: .badTensor, message: "tensor '\(name)' ends at \(offsets[1]), before it begins (\(offsets[0]))")
    }
    var bytes = dtype.size
    for size in shape {
      let product = bytes.multipliedReportingOverflow(by: size)
      guard !product.overflow else {
        throw SafetensorsHeaderError(code: .badTensor, message: "tensor '\(name)' has the impossible shape \(shape)")
      }
      bytes = product.partialValue
    }
    guard bytes == offsets[1] - offsets[0] else {
      throw SafetensorsHeaderError(
        code: .badTensor,
        message: "tensor '\(name)' of type \(typeName) and shape \(shape) takes \(bytes) bytes, its offsets span \(offsets[1] - offsets[0])"
      )
    }
    return SafetensorsEntry(name: name, dtype: dtype, shape: shape, range: offsets[0]..<offsets[1])
  }

  private static func checkCoverage(_ entries: [SafetensorsEntry], dataCount: Int) throws(SafetensorsHeaderError) {
    var end = 0
    for entry in entries {
      guard entry.range.lowerBound == end else {
        let what = entry.range.lowerBound < end ? "overlaps the tensor before it, which ends at" : "leaves a gap after"
        throw SafetensorsHeaderError(
          code: .badTensor, message: "tensor '\(entry.name)' begins at \(entry.range.lowerBound) and \(what) \(end)")
      }
      end = entry.range.upperBound
    }
    guard end == dataCount else {
      throw SafetensorsHeaderError(
        code: .wrongSize, message: "the tensors take \(end) bytes, the file has \(dataCount) after its header; it may be cut short")
    }
  }
}

// MARK: - Writing

extension SafetensorsHeader {
  /// Length and header, padded so that the data begins at a multiple of 8.
  static func encode(_ entries: [SafetensorsEntry], metadata: [String: String]) -> [UInt8] {
    var members: [String] = []
    if !metadata.isEmpty {
      let pairs = metadata.sorted { $0.key < $1.key }.map { "\(quote($0.key)):\(quote($0.value))" }
      members.append("\(quote(metadataKey)):{\(pairs.joined(separator: ","))}")
    }
    for entry in entries {
      let shape = entry.shape.map(String.init).joined(separator: ",")
      members.append(
        "\(quote(entry.name)):{\"dtype\":\"\(name(of: entry.dtype))\",\"shape\":[\(shape)],"
          + "\"data_offsets\":[\(entry.range.lowerBound),\(entry.range.upperBound)]}")
    }
    var header = Array("{\(members.joined(separator: ","))}".utf8)
    header += [UInt8](repeating: 0x20, count: (8 - header.count % 8) % 8)
    return withUnsafeBytes(of: UInt64(header.count).littleEndian, Array.init) + header
  }

  private static func quote(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\u{0}"..<"\u{20}":
        let digits = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}

/// Just the JSON that a header may have: objects, strings, arrays of non-negative integers. It never recurses on its own, so
/// input can't deepen the stack.
private struct HeaderParser {
  let bytes: UnsafeRawBufferPointer
  var position = 0

  init(bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
  }

  private func failure(_ expected: String) -> SafetensorsHeaderError {
    SafetensorsHeaderError(code: .badHeader, message: "the header is not valid: expected \(expected) at byte \(position) of it")
  }

  private mutating func skipSpace() {
    while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) { position += 1 }
  }

  /// The next byte that isn't space, left in place.
  private mutating func peek() -> UInt8? {
    skipSpace()
    return position < bytes.count ? bytes[position] : nil
  }

  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard peek() == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  private mutating func expect(_ character: Unicode.Scalar) throws(SafetensorsHeaderError) {
    guard take(character) else { throw failure("'\(character)'") }
  }

  mutating func end() throws(SafetensorsHeaderError) {
    guard peek() == nil else { throw failure("the end") }
  }

  /// Calls `member` at each member's value, which it must consume.
  mutating func object(
    _ member: (inout HeaderParser, String) throws(SafetensorsHeaderError) -> Void
  ) throws(SafetensorsHeaderError) {
    try expect("{")
    if take("}") { return }
    repeat {
      let key = try string()
      try expect(":")
      try member(&self, key)
    } while take(",")
    try expect("}")
  }

  mutating func integers(atMost limit: Int) throws(SafetensorsHeaderError) -> [Int] {
    try expect("[")
    if take("]") { return [] }
    var list: [Int] = []
    repeat {
      guard list.count < limit else { throw failure("at most \(limit) numbers") }
      list.append(try integer())
    } while take(",")
    try expect("]")
    return list
  }

  private mutating func integer() throws(SafetensorsHeaderError) -> Int {
    skipSpace()
    let start = position
    var number = 0
    while position < bytes.count, case let digit = bytes[position], (0x30...0x39).contains(digit) {
      let product = number.multipliedReportingOverflow(by: 10)
      let sum = product.partialValue.addingReportingOverflow(Int(digit - 0x30))
      guard !product.overflow, !sum.overflow else { throw failure("a number below 2^63") }
      number = sum.partialValue
      position += 1
    }
    guard position > start, position == start + 1 || bytes[start] != 0x30 else { throw failure("a whole number") }
    return number
  }

  mutating func string() throws(SafetensorsHeaderError) -> String {
    try expect("\"")
    var text: [UInt8] = []
    while position < bytes.count {
      let byte = bytes[position]
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: text, as: UTF8.self) else { throw failure("UTF-8 before here") }
        return string
      case UInt8(ascii: "\\"): text += try escape().utf8
      case 0..<0x20: throw failure("no control character")
      default: text.append(byte)
      }
    }
    throw failure("the string's end")
  }

  private mutating func escape() throws(SafetensorsHeaderError) -> String {
    guard position < bytes.count else { throw failure("an escape") }
    let byte = bytes[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return String(Unicode.Scalar(byte))
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      var units = [try hexUnit()]
      if UTF16.isLeadSurrogate(units[0]), position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
        bytes[position + 1] == UInt8(ascii: "u")
      {
        position += 2
        units.append(try hexUnit())
      }
      guard let text = String(validating: units, as: UTF16.self) else { throw failure("a whole surrogate pair") }
      return text
    default: throw failure("an escape")
    }
  }

  private mutating func hexUnit() throws(SafetensorsHeaderError) -> UInt16 {
    guard bytes.count - position >= 4 else { throw failure("four hexadecimal digits") }
    var unit: UInt16 = 0
    for _ in 0..<4 {
      guard let digit = Character(Unicode.Scalar(bytes[position])).hexDigitValue, bytes[position] < 0x80 else {
        throw failure("a hexadecimal digit")
      }
      unit = unit << 4 | UInt16(digit)
      position += 1
    }
    return unit
  }
}
