import ZeroMQ

/// Protobuf written by hand, to say what a well-behaved encoder wouldn't.
struct RawFields {
  private(set) var bytes: [UInt8] = []

  init(_ fill: (inout RawFields) -> Void = { _ in }) { fill(&self) }

  mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 128 {
      bytes.append(UInt8(rest & 127) | 128)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  mutating func number(_ field: UInt64, _ value: UInt64) {
    varint(field << 3)
    varint(value)
  }

  mutating func double(_ field: UInt64, _ value: Double) {
    varint(field << 3 | 1)
    withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
  }

  mutating func bytes(_ field: UInt64, _ value: [UInt8]) {
    varint(field << 3 | 2)
    varint(UInt64(value.count))
    bytes += value
  }

  mutating func text(_ field: UInt64, _ value: String) { bytes(field, Array(value.utf8)) }

  mutating func message(_ field: UInt64, _ fill: (inout RawFields) -> Void) { bytes(field, RawFields(fill).bytes) }

  mutating func raw(_ more: [UInt8]) { bytes += more }

  var frame: Frame { Frame(bytes) }

  /// An envelope of version 1 with request 77 and one body field.
  static func envelope(
    _ body: UInt64, version: UInt64 = 1, tensors: UInt64 = 0, _ fill: (inout RawFields) -> Void = { _ in }
  ) -> Frame {
    RawFields {
      $0.number(1, version)
      $0.number(2, 77)
      $0.number(3, tensors)
      $0.message(body, fill)
    }.frame
  }
}
