import Digests
import Testing

/// Known answers of FIPS 180-4.
@Suite struct DigestsTests {
  @Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
  ])
  func sha256OfText(text: String, digest: String) {
    #expect(hex(sha256(text.utf8)) == digest)
    #expect(bytes(hex: digest) == sha256(text.utf8) && bytes(hex: "\(digest)0") == nil && bytes(hex: "0g") == nil)
    #expect(hex(Array(text.utf8).withUnsafeBytes { sha256($0) }) == digest)
    // In pieces.
    let hasher = SHA256Hasher()
    for byte in text.utf8 { hasher.update(CollectionOfOne(byte)) }
    let whole = hasher.finalize()
    #expect(hex(whole) == digest)
  }

  /// In one piece and in two, the same at every length around the blocks' ends.
  @Test func everyLength() {
    for length in 0..<300 {
      let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ length) }
      let hasher = SHA256Hasher()
      hasher.update(bytes[..<(length / 3)])
      hasher.update(bytes[(length / 3)...])
      let whole = hasher.finalize()
      #expect(sha256(bytes) == whole, "\(length) bytes")
    }
  }

  /// As xxHash's own `xxhsum -H3` prints them.
  @Test func checksums() {
    #expect([UInt8]().withUnsafeBytes { checksum($0) } == 0x2d06_8005_38d3_94c2)
    #expect(Array("abc".utf8).withUnsafeBytes { checksum($0) } == 0x78af_5f94_892f_3950)
    var bytes = [UInt8](repeating: 7, count: 100_000)
    let whole = bytes.withUnsafeBytes { checksum($0) }
    for position in stride(from: 0, to: bytes.count, by: 997) {
      bytes[position] ^= 1 << UInt8(position % 8)
      #expect(bytes.withUnsafeBytes { checksum($0) } != whole, "bit \(position % 8) of byte \(position)")
      bytes[position] ^= 1 << UInt8(position % 8)
    }
  }

  @Test func million() {
    #expect(
      hex(sha256([UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000)))
        == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
  }
}
