import Images
import Testing

/// Splitmix64, for bytes that a failure can be replayed with.
struct Random: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

func randomImage(_ width: Int, _ height: Int, seed: UInt64) -> RGBImage {
  var random = Random(state: seed)
  return RGBImage(
    width: width, height: height, pixels: (0..<3 * width * height).map { _ in UInt8(truncatingIfNeeded: random.next()) })
}

@Suite struct PNGTests {
  @Test(arguments: [(1, 1), (3, 5), (64, 64), (257, 2)]) func roundTrip(_ width: Int, _ height: Int) throws {
    let image = randomImage(width, height, seed: UInt64(width))
    let bytes = try image.png(text: [("Title", "Ein Löwe"), ("Comment", "日本語"), ("Empty", "")])
    #expect(try RGBImage(png: bytes) == image)
    #expect(try image.png(text: [("Title", "Ein Löwe"), ("Comment", "日本語"), ("Empty", "")]) == bytes)
    let texts = try PNGText.read(bytes)
    #expect(texts.map(\.key) == ["Title", "Comment", "Empty"])
    #expect(texts.map(\.value) == ["Ein Löwe", "日本語", ""])
  }

  /// Small PNGs of other kinds, made by an independent encoder.
  @Test func otherKinds() throws {
    for (name, bytes, expected) in samplePNGs {
      let image = try RGBImage(png: bytes)
      #expect(image.pixels == expected, "\(name)")
    }
  }

  @Test(arguments: [
    ("", "a"), (" a", "b"), ("a ", "b"), ("a  b", "c"), ("ä", "b"), (String(repeating: "k", count: 80), "b"), ("a", "b\0c"),
  ]) func refusesTexts(_ key: String, _ value: String) {
    let error = #expect(throws: ImageError.self) { try randomImage(2, 2, seed: 1).png(text: [(key, value)]) }
    #expect(error?.code == .text)
  }

  @Test func hostileBytes() throws {
    let good = try randomImage(16, 16, seed: 4).png(text: [("Title", "x")])
    #expect(throws: ImageError.self) { try RGBImage(png: []) }
    #expect(throws: ImageError.self) { try PNGText.read([]) }
    #expect(throws: ImageError.self) { try RGBImage(png: Array("GIF89a not a PNG".utf8)) }
    // Cut anywhere before the end of the pixels: refused, by both readers.
    for length in 0..<good.count - 12 {
      #expect(throws: ImageError.self, "cut at \(length)") { try RGBImage(png: Array(good.prefix(length))) }
      #expect(throws: ImageError.self, "cut at \(length)") { try PNGText.read(Array(good.prefix(length))) }
    }
    // Changed anywhere: an error or an image, never a crash.
    var random = Random(state: 11)
    for _ in 0..<2000 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      _ = try? RGBImage(png: bytes)
      _ = try? PNGText.read(bytes)
    }
  }

  @Test func refusesHugeImages() throws {
    // A header that promises 100,000 x 100,000 pixels, with a right checksum.
    let error = #expect(throws: ImageError.self) { try RGBImage(png: hugePNG) }
    #expect(error?.code == .tooLarge)
  }

  @Test func metadataIsStable() {
    let texts = imageMetadata(
      label: "clay", seed: .max, pipeline: "avatars", digest: "00ff",
      stages: [
        StageText(stage: "base32", sampler: "ddim", steps: 20, eta: 0.5),
        StageText(stage: "sr64", sampler: "dpm++2m", steps: 1, aug: 100, guidance: 1.5),
      ], truncated: true, numerics: "cpu/avx2/2.13/bf16")
    #expect(
      texts.map { "\($0.key)=\($0.value)" } == [
        "Software=Weir", "weir:label=clay", "weir:seed=18446744073709551615", "weir:pipeline=avatars", "weir:digest=00ff",
        "weir:sampler=base32: ddim, 20 steps, eta 0.5; sr64: dpm++2m, 1 step, aug 100, guidance 1.5; truncated",
        "weir:numerics=cpu/avx2/2.13/bf16",
      ])
  }
}

@Suite struct RGBImageTests {
  @Test func roundingIsTruncation() {
    let values: [Float] = [-2, -1, -0.9961, 0, 0.9999, 1, 2, .nan, .infinity, -.infinity, 0.5, -0.5]
    let image = RGBImage(chw: values, width: 2, height: 2)
    // Planes are red, green, blue.
    #expect(image.pixels == [0, 254, 255, 0, 255, 0, 0, 255, 191, 127, 0, 63])
  }

  @Test func grid() {
    let images = (0..<5).map { RGBImage(width: 2, height: 3, pixels: [UInt8](repeating: UInt8($0), count: 18)) }
    let sheet = RGBImage.grid(images, columns: 3, padding: 1)
    #expect(sheet.width == 10 && sheet.height == 9)
    func pixel(_ x: Int, _ y: Int) -> UInt8 { sheet.pixels[3 * (y * sheet.width + x)] }
    #expect(pixel(0, 0) == 255 && pixel(1, 1) == 0 && pixel(4, 1) == 1 && pixel(8, 3) == 2 && pixel(1, 5) == 3 && pixel(5, 7) == 4)
    #expect(pixel(8, 6) == 255)
    #expect(RGBImage.grid([images[0]], columns: 4, padding: 0) == images[0])
  }
}
