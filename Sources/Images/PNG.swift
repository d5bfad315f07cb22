import CPNG

extension RGBImage {
  /// The most pixels that a PNG may have to be read.
  package static let maximumPixels = 64 << 20

  /// Reads any PNG: every colour type, depth and interlacing becomes 8-bit sRGB; transparency is laid over white.
  package init(png bytes: [UInt8]) throws(ImageError) {
    var control = png_image()
    control.version = UInt32(PNG_IMAGE_VERSION)
    defer { png_image_free(&control) }
    // libpng keeps reading from the source after it began, so everything happens inside one borrow of the bytes.
    let rgba = bytes.withUnsafeBytes { source -> Result<[UInt8], ImageError> in
      guard png_image_begin_read_from_memory(&control, source.baseAddress, source.count) != 0 else {
        return .failure(ImageError(.invalid, "not a readable PNG: \(Self.message(of: control))"))
      }
      let (width, height) = (Int(control.width), Int(control.height))
      guard width > 0, height > 0, width <= Self.maximumPixels / height else {
        return .failure(
          ImageError(.tooLarge, "the PNG has \(width)x\(height) pixels; the limit is \(Self.maximumPixels) in all"))
      }
      // 16-bit images without a colour space are sRGB too, not linear light.
      control.flags |= UInt32(PNG_IMAGE_FLAG_16BIT_sRGB)
      control.format = UInt32(PNG_FORMAT_FLAG_COLOR | PNG_FORMAT_FLAG_ALPHA)
      var rgba = [UInt8](repeating: 0, count: 4 * width * height)
      let finished = rgba.withUnsafeMutableBytes { png_image_finish_read(&control, nil, $0.baseAddress, 0, nil) }
      guard finished != 0 else { return .failure(ImageError(.invalid, "the PNG is damaged: \(Self.message(of: control))")) }
      return .success(rgba)
    }
    try self.init(rgba: rgba.get(), width: Int(control.width), height: Int(control.height))
  }

  private init(rgba: [UInt8], width: Int, height: Int) {
    var pixels = [UInt8](repeating: 0, count: 3 * width * height)
    for i in 0..<width * height {
      let alpha = Int(rgba[4 * i + 3])
      for channel in 0..<3 { pixels[3 * i + channel] = UInt8((Int(rgba[4 * i + channel]) * alpha + 255 * (255 - alpha) + 127) / 255) }
    }
    self.init(width: width, height: height, pixels: pixels)
  }

  /// The image as a PNG, with text chunks in the given order. Equal images and texts give equal bytes.
  package func png(text: [(key: String, value: String)] = []) throws(ImageError) -> [UInt8] {
    var chunks: [UInt8] = []
    for (key, value) in text { chunks += try PNGText.chunk(key: key, value: value) }
    var control = png_image()
    control.version = UInt32(PNG_IMAGE_VERSION)
    control.format = UInt32(PNG_FORMAT_FLAG_COLOR)
    guard let width = UInt32(exactly: width), let height = UInt32(exactly: height) else {
      throw ImageError(.tooLarge, "\(width)x\(height) pixels do not fit a PNG")
    }
    control.width = width
    control.height = height
    defer { png_image_free(&control) }
    // Stored uncompressed it cannot be larger: pixels, a filter byte a row, and the framing of chunks and deflate blocks.
    var capacity = pixels.count + Int(height)
    capacity += capacity / 100 + 65_536
    var failed = false
    var encoded = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
      var size = capacity
      let done = pixels.withUnsafeBytes { png_image_write_to_memory(&control, buffer.baseAddress, &size, 0, $0.baseAddress, 0, nil) }
      failed = done == 0
      count = failed ? 0 : size
    }
    guard !failed, encoded.count > PNGText.headerEnd else {
      throw ImageError(.encoding, "the image could not be written as PNG: \(Self.message(of: control))")
    }
    encoded.insert(contentsOf: chunks, at: PNGText.headerEnd)
    return encoded
  }

  private static func message(of control: png_image) -> String {
    withUnsafeBytes(of: control.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}
