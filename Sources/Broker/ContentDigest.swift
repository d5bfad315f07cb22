/// A SHA-256 digest, held inline: a broker keeps one for every finished stage of every sample.
package struct ContentDigest: Hashable, Sendable {
  // The bytes in their order. Four words, not a vector: its alignment would be that of every row and message with a digest in it.
  private let first: UInt64
  private let second: UInt64
  private let third: UInt64
  private let fourth: UInt64

  /// `nil` unless there are 32 bytes.
  package init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count == 32 else { return nil }
    first = bytes.loadUnaligned(as: UInt64.self)
    second = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    third = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
    fourth = bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
  }

  /// `nil` unless there are 32 bytes.
  package init?(_ bytes: [UInt8]) {
    guard let digest = bytes.withUnsafeBytes(Self.init) else { return nil }
    self = digest
  }

  package var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

  func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try Swift.withUnsafeBytes(of: self, body)
  }
}
