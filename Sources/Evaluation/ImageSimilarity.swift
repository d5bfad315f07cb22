import Foundation
package import Images

/// How alike two images of one size are, pixel by pixel: of enlarged images, and those that they were made from.
package enum ImageSimilarity {
  /// The peak signal-to-noise ratio in dB, of values in [-1, 1].
  package static func psnr(_ image: [Float], _ reference: [Float]) -> Double {
    precondition(image.count == reference.count && !image.isEmpty, "images of one size are compared")
    let sum = zip(image, reference).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
    return 10 * log10(4 * Double(image.count) / max(sum, 1e-12))
  }

  private static let radius = 5

  /// The structural similarity (Wang et al. 2004), 1 of equal images: the mean over channels and over all places where a window of 11 × 11 pixels
  /// fits, weighted by a Gaussian with σ = 1.5; K₁ = 0.01, K₂ = 0.03.
  ///
  /// - Returns: `nil` if no window fits.
  package static func ssim(_ image: RGBImage, _ reference: RGBImage) -> Double? {
    precondition(image.width == reference.width && image.height == reference.height, "images of one size are compared")
    guard min(image.width, image.height) > 2 * radius else { return nil }
    let (c1, c2) = (6.5025, 58.5225)  // (K·255)²
    var sum = 0.0
    var count = 0
    for channel in 0..<3 {
      let x = stride(from: channel, to: image.pixels.count, by: 3).map { Double(image.pixels[$0]) }
      let y = stride(from: channel, to: reference.pixels.count, by: 3).map { Double(reference.pixels[$0]) }
      func mean(_ values: [Double]) -> [Double] { windowMeans(values, width: image.width, height: image.height) }
      let (meanX, meanY) = (mean(x), mean(y))
      let (squareX, squareY) = (mean(zip(x, x).map { $0 * $1 }), mean(zip(y, y).map { $0 * $1 }))
      let product = mean(zip(x, y).map { $0 * $1 })
      for i in meanX.indices {
        let both = meanX[i] * meanY[i]
        let squares = meanX[i] * meanX[i] + meanY[i] * meanY[i]
        let covariance = product[i] - both
        let variances = squareX[i] + squareY[i] - squares
        sum += (2 * both + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
      }
      count += meanX.count
    }
    return sum / Double(count)
  }

  /// Of a plane, row-major, at each place where a window fits.
  private static func windowMeans(_ plane: [Double], width: Int, height: Int) -> [Double] {
    let raw = (-radius...radius).map { exp(-Double($0 * $0) / (2 * 1.5 * 1.5)) }
    let kernel = raw.map { $0 / raw.reduce(0, +) }
    let (columns, rows) = (width - 2 * radius, height - 2 * radius)
    var across = [Double](repeating: 0, count: columns * height)
    for y in 0..<height {
      for x in 0..<columns {
        var sum = 0.0
        for (offset, weight) in kernel.enumerated() { sum += weight * plane[y * width + x + offset] }
        across[y * columns + x] = sum
      }
    }
    var means = [Double](repeating: 0, count: columns * rows)
    for y in 0..<rows {
      for x in 0..<columns {
        var sum = 0.0
        for (offset, weight) in kernel.enumerated() { sum += weight * across[(y + offset) * columns + x] }
        means[y * columns + x] = sum
      }
    }
    return means
  }
}
