import Diffusion
package import Images

/// Image arithmetic of the training data: planar RGB (C, H, W) as floats. Sizes are in pixels.
package enum Resampling {
  /// The centre square of an image, averaged down to `side` x `side`; values 0...255, not rounded, so that a chain of
  /// averages over integer factors agrees with one average (cdm-facts 2.7: "area" interpolation).
  ///
  /// Nil when the image is smaller than `side`.
  package static func area(_ image: RGBImage, side: Int) -> [Float]? {
    let square = min(image.width, image.height)
    return square >= side && side > 0 ? average(image, square: square, side: side) : nil
  }

  /// The centre square of an image at `side` x `side`, planar, 0...255: averaged down as `area` does, or enlarged bilinearly.
  package static func square(_ image: RGBImage, side: Int) -> [Float] {
    let own = min(image.width, image.height)
    guard own < side else { return average(image, square: own, side: side) }
    return bilinearWindow(
      average(image, square: own, side: own), side: own, target: side, top: 0, left: 0, height: side, width: side)
  }

  private static func average(_ image: RGBImage, square: Int, side: Int) -> [Float] {
    let left = (image.width - square) / 2
    let top = (image.height - square) / 2
    var out = [Float](repeating: 0, count: 3 * side * side)
    let spans = overlaps(from: square, to: side)
    image.pixels.withUnsafeBufferPointer { pixels in
      out.withUnsafeMutableBufferPointer { out in
        // One row of the result at a time: sum the source rows it covers, then the columns.
        var row = [Float](repeating: 0, count: square * 3)
        row.withUnsafeMutableBufferPointer { row in
          for y in 0..<side {
            row.update(repeating: 0)
            for (offset, weight) in spans[y].weights.enumerated() {
              let source = ((top + spans[y].start + offset) * image.width + left) * 3
              for i in 0..<square * 3 { row[i] += weight * Float(pixels[source + i]) }
            }
            for x in 0..<side {
              var red: Float = 0
              var green: Float = 0
              var blue: Float = 0
              let span = spans[x]
              for (offset, weight) in span.weights.enumerated() {
                let i = (span.start + offset) * 3
                red += weight * row[i]
                green += weight * row[i + 1]
                blue += weight * row[i + 2]
              }
              let pixel = y * side + x
              out[pixel] = red
              out[side * side + pixel] = green
              out[2 * side * side + pixel] = blue
            }
          }
        }
      }
    }
    return out
  }

  /// Box average of planar images by an integer factor: (C, H, W) to (C, H/factor, W/factor).
  package static func boxAverage(_ planes: [Float], side: Int, factor: Int) -> [Float] {
    guard factor > 1 else { return planes }
    let small = side / factor
    let channels = planes.count / (side * side)
    let scale = 1 / Float(factor * factor)
    var out = [Float](repeating: 0, count: channels * small * small)
    planes.withUnsafeBufferPointer { planes in
      for c in 0..<channels {
        for y in 0..<small {
          for x in 0..<small {
            var sum: Float = 0
            for dy in 0..<factor {
              let row = c * side * side + (y * factor + dy) * side + x * factor
              for dx in 0..<factor { sum += planes[row + dx] }
            }
            out[(c * small + y) * small + x] = sum * scale
          }
        }
      }
    }
    return out
  }

  /// A `height` x `width` window, its corner at (top, left), of a planar image of `side` x `side` after bilinear enlargement to
  /// `target` x `target` (half-pixel centres, no antialias, clamped at the edges: what the network does to a whole image).
  package static func bilinearWindow(
    _ planes: [Float], side: Int, target: Int, top: Int, left: Int, height: Int, width: Int
  ) -> [Float] {
    let channels = planes.count / (side * side)
    let rows = taps(side: side, target: target, start: top, count: height)
    let columns = taps(side: side, target: target, start: left, count: width)
    var out = [Float](repeating: 0, count: channels * height * width)
    planes.withUnsafeBufferPointer { planes in
      out.withUnsafeMutableBufferPointer { out in
        for c in 0..<channels {
          for y in 0..<height {
            let (y0, y1, fy) = rows[y]
            let upper = (c * side + y0) * side
            let lower = (c * side + y1) * side
            for x in 0..<width {
              let (x0, x1, fx) = columns[x]
              let above = (1 - fx) * planes[upper + x0] + fx * planes[upper + x1]
              let below = (1 - fx) * planes[lower + x0] + fx * planes[lower + x1]
              out[(c * height + y) * width + x] = (1 - fy) * above + fy * below
            }
          }
        }
      }
    }
    return out
  }

  /// A 3x3 Gaussian blur; the border is mirrored without repeating its pixels.
  package static func blurred(_ planes: [Float], side: Int, sigma: Double) -> [Float] {
    guard side > 1 else { return planes }
    let kernel = Augmentation.blurKernel(sigma: sigma)
    let (edge, centre) = (Float(kernel.side), Float(kernel.centre))
    var rows = planes
    for row in 0..<planes.count / side {
      for x in 0..<side {
        let before = planes[row * side + (x == 0 ? 1 : x - 1)]
        let after = planes[row * side + (x == side - 1 ? side - 2 : x + 1)]
        rows[row * side + x] = edge * (before + after) + centre * planes[row * side + x]
      }
    }
    var out = rows
    for c in 0..<planes.count / (side * side) {
      for y in 0..<side {
        let above = (c * side + (y == 0 ? 1 : y - 1)) * side
        let below = (c * side + (y == side - 1 ? side - 2 : y + 1)) * side
        let here = (c * side + y) * side
        for x in 0..<side { out[here + x] = edge * (rows[above + x] + rows[below + x]) + centre * rows[here + x] }
      }
    }
    return out
  }

  /// A window of a planar image.
  package static func window(_ planes: [Float], side: Int, top: Int, left: Int, height: Int, width: Int) -> [Float] {
    let channels = planes.count / (side * side)
    var out: [Float] = []
    out.reserveCapacity(channels * height * width)
    for c in 0..<channels {
      for y in 0..<height {
        let row = (c * side + top + y) * side + left
        out.append(contentsOf: planes[row..<row + width])
      }
    }
    return out
  }

  /// Mirrors left and right.
  package static func flipped(_ planes: [Float], side: Int) -> [Float] {
    var out = planes
    for row in 0..<planes.count / side {
      for x in 0..<side { out[row * side + x] = planes[row * side + side - 1 - x] }
    }
    return out
  }

  private static func taps(side: Int, target: Int, start: Int, count: Int) -> [(Int, Int, Float)] {
    let scale = Float(side) / Float(target)
    return (start..<start + count).map { i in
      let position = max((Float(i) + 0.5) * scale - 0.5, 0)
      let lower = min(Int(position), side - 1)
      return (lower, min(lower + 1, side - 1), position - Float(lower))
    }
  }

  /// Which source pixels each target pixel covers, and how much of each; the weights of a target pixel sum to 1.
  private static func overlaps(from source: Int, to target: Int) -> [(start: Int, weights: [Float])] {
    let scale = Double(source) / Double(target)
    return (0..<target).map { i in
      let from = Double(i) * scale
      let to = min(Double(i + 1) * scale, Double(source))
      let start = Int(from)
      let end = min(Int(to.rounded(.up)), source)
      return (start, (start..<end).map { Float((min(to, Double($0 + 1)) - max(from, Double($0))) / scale) })
    }
  }
}
