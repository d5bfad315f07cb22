/// Text chunks of a PNG: `tEXt` for Latin-1, `iTXt` for everything else (PNG specification, section 11.3.4). Never compressed.
package enum PNGText {
  /// Where the header chunk ends: after the signature and IHDR.
  static let headerEnd = 33

  private static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

  /// The texts of a PNG in file order. Compressed ones are skipped.
  package static func read(_ png: [UInt8]) throws(ImageError) -> [(key: String, value: String)] {
    guard png.starts(with: signature) else { throw ImageError(.invalid, "not a PNG: its signature is missing") }
    var texts: [(key: String, value: String)] = []
    var position = signature.count
    while png.count - position >= 12 {
      let length = Int(word(png, position))
      guard length <= png.count - position - 12 else {
        throw ImageError(.invalid, "the PNG is cut short: a chunk at byte \(position) is longer than the rest of the file")
      }
      let type = png[position + 4..<position + 8]
      let data = png[position + 8..<position + 8 + length]
      guard crc(png[position + 4..<position + 8 + length]) == word(png, position + 8 + length) else {
        throw ImageError(.invalid, "the PNG is damaged: the checksum of the chunk at byte \(position) is wrong")
      }
      if type.elementsEqual("IEND".utf8) { return texts }
      if let end = data.firstIndex(of: 0) {
        let key = latin1(data[..<end])
        if type.elementsEqual("tEXt".utf8) {
          texts.append((key, latin1(data[(end + 1)...])))
        } else if type.elementsEqual("iTXt".utf8), data.endIndex - end >= 5, data[end + 1] == 0 {
          // Compression flag and method, then language and translated key, each ended by a zero.
          let rest = data[(end + 3)...]
          if let language = rest.firstIndex(of: 0), let translated = rest[(language + 1)...].firstIndex(of: 0) {
            texts.append((key, String(decoding: rest[(translated + 1)...], as: UTF8.self)))
          }
        }
      }
      position += 12 + length
    }
    throw ImageError(.invalid, "the PNG is cut short: it has no end chunk")
  }

  static func chunk(key: String, value: String) throws(ImageError) -> [UInt8] {
    guard (1...79).contains(key.unicodeScalars.count), key.unicodeScalars.allSatisfy({ (0x20...0x7E).contains($0.value) }),
      key.first != " ", key.last != " ", !key.contains("  ")
    else { throw ImageError(.text, "text key \"\(key)\": 1 to 79 printable ASCII characters, no leading, trailing or double spaces") }
    guard !value.unicodeScalars.contains("\0"), value.utf8.count <= 1 << 20 else {
      throw ImageError(.text, "the text \"\(key)\" is longer than 1 MiB or has a zero character")
    }
    let isLatin1 = value.unicodeScalars.allSatisfy { $0.value <= 0xFF }
    var body = Array((isLatin1 ? "tEXt" : "iTXt").utf8) + Array(key.utf8) + [0]
    if isLatin1 {
      body += value.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) }
    } else {
      body += [0, 0, 0, 0] + Array(value.utf8)
    }
    return bytes(UInt32(body.count - 4)) + body + bytes(crc(body[...]))
  }

  private static func bytes(_ word: UInt32) -> [UInt8] { withUnsafeBytes(of: word.bigEndian, Array.init) }

  private static func word(_ bytes: [UInt8], _ at: Int) -> UInt32 {
    bytes[at..<at + 4].reduce(0) { $0 << 8 | UInt32($1) }
  }

  private static func latin1(_ bytes: ArraySlice<UInt8>) -> String {
    var text = String.UnicodeScalarView()
    for byte in bytes { text.append(Unicode.Scalar(byte)) }
    return String(text)
  }

  /// CRC-32 of a chunk's type and data (PNG specification, annex D).
  private static func crc(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    ~bytes.reduce(0xFFFF_FFFF as UInt32) { crcTable[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ ($0 >> 8) }
  }

  private static let crcTable: [UInt32] = (0..<256).map { n in
    (0..<8).reduce(UInt32(n)) { c, _ in c & 1 == 1 ? 0xEDB8_8320 ^ (c >> 1) : c >> 1 }
  }
}
