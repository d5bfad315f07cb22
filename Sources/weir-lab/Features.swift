import ArgumentParser
import Cascade
import Evaluation
import Foundation

struct Features: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Compute what a feature net says of images, for 'metrics' and 'eval'.",
    discussion: "OUT gets features (N, D), logits (N, C) and labels (N): the images' sub-folders, in the order of their names.")

  @Option(help: "A folder of PNG files, or of one sub-folder of them a class.")
  var images: String

  @Option(help: "EfficientNet-Lite0's weights; ops/data/make-feature-net makes the file.")
  var net: String

  @Option(help: "Where to write them, a .safetensors file.")
  var out: String

  @Option(help: "Take the first so many images of each class, by name.")
  var limit: Int?

  @OptionGroup var cache: CacheOption

  func validate() throws {
    guard limit ?? 1 >= 1 else { throw ValidationError("--limit \(limit ?? 0): at least 1") }
  }

  func run() throws {
    try loadFeatures(images, net: try EfficientNetLite(weights: net), limit: limit, cache: cache.features).set.write(to: out)
  }
}

struct CacheOption: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Keeps features, 9 kB an image, so that the next command goes on from them (default: in ~/.cache/weir).", valueName: "dir"))
  var cache: String?

  var features: FeatureCache { FeatureCache(folder: cache ?? "\(CacheFolder.path())/features") }
}

/// A file of features, or a folder of images whose features are computed.
func loadFeatures(
  _ path: String, net: (any FeatureNet)?, classes: [String]? = nil, limit: Int? = nil, cache: FeatureCache
) throws -> (set: FeatureSet, classes: [String]) {
  if path.hasSuffix(".safetensors") { return (try FeatureSet(contentsOf: path), classes ?? []) }
  guard let net else { throw ValidationError("\(path) is a folder: --features NET.safetensors has to say which net looks at its images") }
  let folder = try ImageFolder(path, classes: classes, limit: limit)
  let set = try net.features(of: folder, cache: cache) { done, all in ProgressLine.show("\(path): \(done) of \(all) images") }
  ProgressLine.clear()
  return (set, folder.classes)
}
