/// A SHA-256 digest, held inline: a broker keeps one for every finished stage of every sample.
package struct ContentDigest: Hashable, Sendable {
  private var words: SIMD4<UInt64>

  /// `nil` unless there are 32 bytes.
  package init?(_ bytes: some Collection<UInt8>) {
    guard bytes.count == 32 else { return nil }
    words = .zero
    for (index, byte) in bytes.enumerated() {
      words[index / 8] = words[index / 8] << 8 | UInt64(byte)
    }
  }

  package var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

  func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    let bigEndian = SIMD4(words[0].bigEndian, words[1].bigEndian, words[2].bigEndian, words[3].bigEndian)
    return try Swift.withUnsafeBytes(of: bigEndian, body)
  }
}
