import Evaluation
import Images
import Testing

@Suite struct SimilarityTests {
  /// As in `ops/reference/make_metric_goldens.py`.
  private func image(_ index: Int, width: Int = 48, height: Int = 40) -> RGBImage {
    let pixels = (0..<width * height).flatMap { place in
      let (x, y) = (place % width, place / width)
      return [UInt8((x * (3 + index) + y * 5) % 256), UInt8(x * y / 64 % 256), UInt8((x ^ y) % 256)]
    }
    return RGBImage(width: width, height: height, pixels: pixels)
  }

  @Test func theStructuralSimilarityIsScikitImages() throws {
    let found = try #require(ImageSimilarity.ssim(image(0), image(1)))
    #expect(abs(found - (try Answers.load().ssim)) < 1e-9, "\(found)")
    #expect(ImageSimilarity.ssim(image(1), image(1)) == 1)
    #expect(ImageSimilarity.ssim(image(0, width: 10), image(1, width: 10)) == nil)
  }

  /// Off by a tenth of a range of 2: 10·log₁₀(4 / 0.04).
  @Test func theSignalToNoiseRatioIsInDecibels() {
    let values: [Float] = [-0.5, 0, 0.25, 0.75]
    #expect(abs(ImageSimilarity.psnr(values, values.map { $0 + 0.2 }) - 20) < 1e-5)
  }
}
