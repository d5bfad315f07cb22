/// 8-bit RGB, rows top to bottom, three bytes a pixel.
package struct RGBImage: Hashable, Sendable {
  package let width, height: Int
  package let pixels: [UInt8]

  /// `pixels.count` is 3·width·height, both sides at least 1.
  package init(width: Int, height: Int, pixels: [UInt8]) {
    precondition(width > 0 && height > 0 && pixels.count == 3 * width * height, "an RGB image has 3·width·height bytes")
    self.width = width
    self.height = height
    self.pixels = pixels
  }

  /// From planes (3, height, width) in [-1, 1]: (x+1)·127.5 in Float, clamped to 0…255, the fraction dropped, as guided-diffusion does it.
  /// What is not a number becomes 0.
  package init(chw values: [Float], width: Int, height: Int) {
    let plane = width * height
    precondition(width > 0 && height > 0 && values.count == 3 * plane, "planes have 3·height·width values")
    var pixels = [UInt8](repeating: 0, count: 3 * plane)
    for channel in 0..<3 {
      for i in 0..<plane {
        let value = (values[channel * plane + i] + 1) * 127.5
        pixels[3 * i + channel] = value >= 255 ? 255 : (value > 0 ? UInt8(value) : 0)
      }
    }
    self.init(width: width, height: height, pixels: pixels)
  }

  /// A contact sheet: rows of `columns` cells as large as the largest image, `padding` white pixels around each; `images` is not empty.
  package static func grid(_ images: [RGBImage], columns: Int, padding: Int = 2) -> RGBImage {
    precondition(!images.isEmpty && columns > 0 && padding >= 0, "a grid has at least one image and one column")
    let cellWidth = images.map(\.width).max() ?? 1
    let cellHeight = images.map(\.height).max() ?? 1
    let used = Swift.min(columns, images.count)
    let rows = (images.count + columns - 1) / columns
    let width = used * (cellWidth + padding) + padding
    let height = rows * (cellHeight + padding) + padding
    var pixels = [UInt8](repeating: 255, count: 3 * width * height)
    for (index, image) in images.enumerated() {
      let left = padding + index % columns * (cellWidth + padding)
      let top = padding + index / columns * (cellHeight + padding)
      for y in 0..<image.height {
        let target = 3 * ((top + y) * width + left)
        let source = 3 * y * image.width
        pixels.replaceSubrange(target..<target + 3 * image.width, with: image.pixels[source..<source + 3 * image.width])
      }
    }
    return RGBImage(width: width, height: height, pixels: pixels)
  }
}
