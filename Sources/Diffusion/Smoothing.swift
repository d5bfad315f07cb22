/// Edge-preserving smoothing of a finished image: each pixel becomes the mean of those near it that have nearly its colour, several times over (the
/// sigma filter of Lee 1983; a pixel's weight is Tukey's biweight of its distance in colour).
///
/// A denoiser's errors of a level or two show as mottle where the data is flat, as drawings are. They lie below what is a colour of its own there, so
/// that they can be averaged out without touching an edge. Photographs have true detail of that strength: it would go, too.
///
/// Single-precision additions, multiplications and divisions in one order: the same bytes on every processor.
package struct Smoothing: Hashable, Sendable {
  /// Of 255: pixels whose colours are this far apart, or farther, don't mix.
  package let range: Double
  /// Of the square that a mean is taken over, in pixels.
  package let radius: Int
  /// How often.
  package let rounds: Int

  package static let ranges = 0.5...255.0
  package static let radii = 1...8
  package static let roundCounts = 1...16

  package init(range: Double, radius: Int, rounds: Int) throws(DiffusionError) {
    func require(_ isFine: Bool, _ message: String) throws(DiffusionError) {
      guard isFine else { throw DiffusionError(.smoothing, "smoothing: \(message)") }
    }
    try require(
      Self.ranges.contains(range), "a range of \(range) levels: choose from \(Self.ranges.lowerBound) to \(Self.ranges.upperBound)")
    try require(
      Self.radii.contains(radius), "a radius of \(radius) pixels: choose from \(Self.radii.lowerBound) to \(Self.radii.upperBound)")
    try require(
      Self.roundCounts.contains(rounds), "\(rounds) rounds: choose from \(Self.roundCounts.lowerBound) to \(Self.roundCounts.upperBound)")
    self.range = range
    self.radius = radius
    self.rounds = rounds
  }

  /// - Parameter image: (3, side, side) flat, in [-1, 1].
  package func callAsFunction(_ image: [Float], side: Int) -> [Float] {
    precondition(image.count == 3 * side * side, "the image is (3, \(side), \(side))")
    var image = image
    for _ in 0..<rounds { smooth(&image, side) }
    return image
  }

  private typealias Pixels = SIMD8<Float>

  private func smooth(_ image: inout [Float], _ side: Int) {
    // Rows are a whole number of vectors, and the border repeats the edge, so that no pixel is a special case.
    let width = (side + Pixels.scalarCount - 1) / Pixels.scalarCount * Pixels.scalarCount + 2 * radius
    let plane = width * (side + 2 * radius)
    let padded = [Float](unsafeUninitializedCapacity: 3 * plane) { buffer, initialized in
      image.withUnsafeBufferPointer { image in
        guard let target = buffer.baseAddress, let source = image.baseAddress else { return }
        for channel in 0..<3 {
          for y in 0..<side + 2 * radius {
            let row = source + (channel * side + min(max(y - radius, 0), side - 1)) * side
            let padded = target + channel * plane + y * width
            padded.initialize(repeating: row[0], count: radius)
            (padded + radius).initialize(from: row, count: side)
            (padded + radius + side).initialize(repeating: row[side - 1], count: width - radius - side)
          }
        }
        initialized = 3 * plane
      }
    }
    // A level is 2/255 in [-1, 1].
    let reach = Float(range) * 2 / 255
    let scale = Pixels(repeating: 1 / (reach * reach))
    padded.withUnsafeBytes { source in
      func pixels(_ channel: Int, _ y: Int, _ x: Int) -> Pixels {
        source.loadUnaligned(fromByteOffset: (channel * plane + y * width + x) * MemoryLayout<Float>.stride, as: Pixels.self)
      }
      for y in 0..<side {
        for x in stride(from: 0, to: side, by: Pixels.scalarCount) {
          let (red, green, blue) = (pixels(0, y + radius, x + radius), pixels(1, y + radius, x + radius), pixels(2, y + radius, x + radius))
          var (weights, reds, greens, blues) = (Pixels.zero, Pixels.zero, Pixels.zero, Pixels.zero)
          for near in y...y + 2 * radius {
            for beside in x...x + 2 * radius {
              let (r, g, b) = (pixels(0, near, beside), pixels(1, near, beside), pixels(2, near, beside))
              let (dr, dg, db) = (r - red, g - green, b - blue)
              let distance = dr * dr + dg * dg + db * db
              var weight = 1 - distance * scale
              weight.replace(with: 0, where: weight .< 0)
              weight *= weight
              weights += weight
              reds += weight * r
              greens += weight * g
              blues += weight * b
            }
          }
          // Each pixel has at least its own weight, 1.
          for (channel, sum) in [reds, greens, blues].enumerated() {
            let mean = sum / weights
            for lane in 0..<min(Pixels.scalarCount, side - x) { image[(channel * side + y) * side + x + lane] = mean[lane] }
          }
        }
      }
    }
  }
}
