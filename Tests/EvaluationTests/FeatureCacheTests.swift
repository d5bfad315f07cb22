import Foundation
import Images
import Tensors
import Testing

@testable import Evaluation

/// Says an image's first three bytes, and counts the images that it has looked at.
private final class CountingNet: FeatureNet {
  let name = "first pixel"
  let digest: [UInt8]
  private(set) var looks = 0
  /// After so many looks it fails.
  var patience = Int.max

  init(digest: [UInt8] = [1]) { self.digest = digest }

  func features(of images: [RGBImage]) throws -> (features: Tensor, logits: Tensor) {
    guard looks + images.count <= patience else { throw EvaluationError("interrupted") }
    looks += images.count
    let features = try Tensor(images.flatMap { $0.pixels.prefix(3).map { Float($0) } }, shape: [images.count, 3])
    return (features, try features.mul(2))
  }
}

@Suite struct FeatureCacheTests {
  private let root = FileManager.default.temporaryDirectory.appending(path: "weir-cache-\(UUID().uuidString)").path

  private func write(_ path: String, _ value: Int, text: [(key: String, value: String)] = []) throws {
    let file = URL(fileURLWithPath: "\(root)/\(path)")
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    let pixels = (0..<12).map { UInt8(truncatingIfNeeded: value + $0) }
    try Data(RGBImage(width: 2, height: 2, pixels: pixels).png(text: text)).write(to: file)
  }

  @Test func whatIsKnownIsNotComputedAgain() throws {
    defer { try? FileManager.default.removeItem(atPath: root) }
    for index in 0..<150 { try write("images/a/\(1000 + index).png", index) }
    for index in 0..<3 { try write("images/b/\(index).png", 200 + index) }
    let folder = try ImageFolder("\(root)/images")
    let cache = FeatureCache(folder: "\(root)/cache")
    let plain = try CountingNet().features(of: folder)
    #expect(plain.count == 153 && plain.labels?.suffix(4) == [0, 1, 1, 1] && plain.paths?.last == "\(root)/images/b/2.png")

    // Interrupted in the second part of the first class: the first one's 128 are kept.
    let net = CountingNet()
    net.patience = 128
    #expect(throws: EvaluationError.self) { try net.features(of: folder, cache: cache) }
    net.patience = .max
    var told: [Int] = []
    let found = try net.features(of: folder, cache: cache) { done, all in
      #expect(all == 153)
      told.append(done)
    }
    #expect(net.looks == 153 && told.first == 128 && told.last == 153)
    let again = try net.features(of: folder, cache: cache)
    #expect(net.looks == 153)
    for set in [found, again] {
      #expect(try set.features.doubles() == plain.features.doubles() && set.logits?.doubles() == plain.logits?.doubles())
      #expect(set.labels == plain.labels)
    }

    // An image that is another now, or another net: what it says is computed.
    try write("images/b/1.png", 90)
    let changed = try net.features(of: folder, cache: cache)
    #expect(try net.looks == 156 && changed.features.doubles().suffix(6).first == 90)
    let other = CountingNet(digest: [2])
    _ = try other.features(of: folder, cache: cache)
    #expect(other.looks == 153)

    // A damaged file is as none.
    for name in try FileManager.default.contentsOfDirectory(atPath: cache.folder) {
      try Data([1, 2, 3]).write(to: URL(fileURLWithPath: "\(cache.folder)/\(name)"))
    }
    #expect(try net.features(of: folder, cache: cache).features.doubles() == changed.features.doubles() && net.looks == 309)
  }

  @Test func aFolderThatTakesNothingIsNamed() throws {
    defer { try? FileManager.default.removeItem(atPath: root) }
    for index in 0..<2 { try write("images/\(index).png", index) }
    let cache = FeatureCache(folder: "\(root)/images/0.png")
    #expect { try CountingNet().features(of: ImageFolder("\(root)/images"), cache: cache) } throws: {
      "\($0)".contains("--cache") && "\($0)".contains("0.png")
    }
  }

  @Test func imagesMaySayTheirClass() throws {
    defer { try? FileManager.default.removeItem(atPath: root) }
    for (index, label) in ["b", "a", "b"].enumerated() { try write("images/\(index).png", index, text: [("weir:label", label)]) }
    let folder = try ImageFolder("\(root)/images", classes: ["a", "b"])
    #expect(folder.items.map(\.label) == [0, 1, 1] && folder.items[0].path.hasSuffix("1.png"))
    #expect(try ImageFolder("\(root)/images", classes: ["a", "b"], limit: 1).items.count == 2)
    #expect { try ImageFolder("\(root)/images", classes: ["a", "c"]) } throws: { "\($0)".contains("0.png") && "\($0)".contains("a, c") }
    try write("images/3.png", 3)
    #expect { try ImageFolder("\(root)/images", classes: ["a", "b"]) } throws: {
      "\($0)".contains("3.png") && "\($0)".contains("sub-folder")
    }
  }
}
