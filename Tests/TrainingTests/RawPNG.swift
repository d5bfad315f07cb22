/// PNGs of every kind, filled with one pixel and stored without compression.
enum RawPNG {
  enum Kind: UInt8 {
    case gray = 0
    case rgb = 2
    case palette = 3
    case grayAlpha = 4
    case rgba = 6
  }

  /// - Parameters:
  ///   - pixel: its bytes, for 8 or 16 bits a channel.
  ///   - palette: three bytes a colour.
  static func bytes(_ kind: Kind, width: Int, height: Int, depth: UInt8 = 8, pixel: [UInt8], palette: [UInt8] = []) -> [UInt8] {
    let row: [UInt8] = [0] + Array(repeatElement(pixel, count: width).joined())
    let pixels = Array(repeatElement(row, count: height).joined())
    let size = UInt16(pixels.count)
    let block = [1, UInt8(size & 0xff), UInt8(size >> 8), UInt8(~size & 0xff), UInt8(~size >> 8)] + pixels
    var bytes: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
    bytes += chunk("IHDR", word(width) + word(height) + [depth, kind.rawValue, 0, 0, 0])
    if !palette.isEmpty { bytes += chunk("PLTE", palette) }
    bytes += chunk("IDAT", [0x78, 0x01] + block + word(adler(pixels)))
    return bytes + chunk("IEND", [])
  }

  private static func chunk(_ type: String, _ data: [UInt8]) -> [UInt8] {
    let body = Array(type.utf8) + data
    return word(data.count) + body + word(Int(crc(body)))
  }

  private static func word(_ number: Int) -> [UInt8] { withUnsafeBytes(of: UInt32(number).bigEndian, Array.init) }

  /// Adler-32 (RFC 1950).
  private static func adler(_ bytes: [UInt8]) -> Int {
    let (a, b) = bytes.reduce((1, 0)) { sums, byte in
      let a = (sums.0 + Int(byte)) % 65_521
      return (a, (sums.1 + a) % 65_521)
    }
    return b << 16 | a
  }

  /// CRC-32 (PNG specification, annex D).
  private static func crc(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(0xFFFF_FFFF as UInt32) { crc, byte in
      (0..<8).reduce(crc ^ UInt32(byte)) { c, _ in c & 1 == 1 ? 0xEDB8_8320 ^ (c >> 1) : c >> 1 }
    }
  }
}
