/// A 64-bit check of a row's values. SQLite notices a page that makes no sense, but not a bit that flipped inside a value.
///
/// NULL adds nothing, so that a column which a later schema adds leaves older rows sealed. Each step is a bijection of the state and of the
/// word, so that a change within one word never goes unseen.
struct RowSeal {
  private var state: UInt64
  private var hasValues = false

  /// - Parameters:
  ///   - table: of the row, so that a row is never taken for one of another table.
  init(table: UInt64, id: Int64) {
    state = table
    mix(UInt64(bitPattern: id))
  }

  mutating func add(_ column: Int, _ value: Int64) {
    hasValues = true
    mix(UInt64(column) << 8 | 1)
    mix(UInt64(bitPattern: value))
  }

  mutating func add(_ column: Int, text: UnsafeRawBufferPointer) {
    hasValues = true
    mix(UInt64(column) << 8 | 2)
    mix(text)
  }

  mutating func add(_ column: Int, blob: UnsafeRawBufferPointer) {
    hasValues = true
    mix(UInt64(column) << 8 | 3)
    mix(blob)
  }

  mutating func add(_ column: Int, _ value: SQLValue) {
    switch value {
    case .null: break
    case .integer(let value): add(column, value)
    case .text(let bytes): add(column, text: bytes)
    case .blob(let bytes): add(column, blob: bytes)
    case .other: mix(UInt64(column) << 8 | 4)
    }
  }

  var value: Int64 { Int64(bitPattern: state) }

  /// Whether this is the seal that a row has. A row without any value was never written, but zeros look like one, and its seal may be zero too.
  func fits(_ stored: Int64) -> Bool { hasValues && stored == value }

  private mutating func mix(_ word: UInt64) {
    state = (state ^ word) &* 0x9E37_79B9_7F4A_7C15
    state ^= state >> 29
  }

  private mutating func mix(_ bytes: UnsafeRawBufferPointer) {
    mix(UInt64(bytes.count))
    var offset = 0
    while offset + 8 <= bytes.count {
      mix(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
      offset += 8
    }
    var rest: UInt64 = 0
    for index in offset..<bytes.count { rest |= UInt64(bytes[index]) << (8 * UInt64(index - offset)) }
    if offset < bytes.count { mix(rest) }
  }
}
