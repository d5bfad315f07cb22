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

  package var bytes: [UInt8] {
    (0..<32).map { UInt8(truncatingIfNeeded: words[$0 / 8] >> (56 - 8 * UInt64($0 % 8))) }
  }
}
