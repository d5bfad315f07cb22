import ArgumentParser
import Evaluation
import Foundation
import Images

struct Eval: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say how near generated images are to real ones.",
    discussion: """
      Each of --samples, --reference and --train is a folder with one sub-folder of PNG files a class, or a file that 'weir-lab features' made of \
      one; --samples may also be a folder of images that Weir generated, which carry their labels. Distances are in the features of the net that \
      is given, and can only be compared with others in the same net's; FID is biased upwards the more, the fewer images there are.

      With classes there is a table of them, and the classification accuracy score: a logistic regression on the features learns the classes from \
      the generated images alone, and is tested on the real ones; with --train beside one that has learnt from as many training images.

      With --train the generated images' distances to the training images nearest to them are compared with those of the real ones, which the \
      model was not trained on: of copies they are smaller. The pairs that are most like copies are named.

      Features are kept as they are computed: the same command goes on after an interruption, and is quick the next time.
      """)

  @Option(help: "The generated images.")
  var samples: String

  @Option(help: "Real ones, that the model was not trained on.")
  var reference: String

  @Option(help: "The images that it was trained on, to look for copies of them.")
  var train: String?

  @Option(help: ArgumentHelp("EfficientNet-Lite0's weights; ops/data/make-feature-net makes the file.", valueName: "net"))
  var features: String?

  @Option(help: "With --train: how many pairs of a generated image and a training image are named, the nearest first.")
  var pairs = 12

  @Option(help: ArgumentHelp("With --train: a picture of these pairs, the generated image left of the training image.", valueName: "png"))
  var sheet: String?

  @Option(help: "Seed of KID's subsets.")
  var seed: UInt64 = 0

  @OptionGroup var cache: CacheOption

  @Flag(help: "One JSON object.")
  var json = false

  func validate() throws {
    guard pairs >= 1 else { throw ValidationError("--pairs \(pairs): at least 1") }
    guard let sheet else { return }
    guard let train else { throw ValidationError("--sheet \(sheet) shows training images beside generated ones: say with --train which") }
    for path in [samples, train] where path.hasSuffix(".safetensors") {
      throw ValidationError("--sheet \(sheet): \(path) has no images to show; give the folder that it was made of")
    }
  }

  func run() throws {
    let net = try features.map { try EfficientNetLite(weights: $0) }
    let (real, classes) = try loadFeatures(reference, net: net, cache: cache.features)
    let names = classes.isEmpty ? nil : classes
    let (generated, _) = try loadFeatures(samples, net: net, classes: names, cache: cache.features)
    let training = try train.map { try loadFeatures($0, net: net, classes: names, cache: cache.features).set }
    let report = try EvaluationReport(
      generated: generated, real: real, classes: classes, training: training, pairs: pairs, seed: seed, progress: ProgressLine.show)
    ProgressLine.clear()
    if let sheet, let memorisation = report.memorisation {
      try Data(memorisation.picture().png()).write(to: URL(fileURLWithPath: sheet), options: .atomic)
    }
    print(try json ? report.json : report.text)
  }
}

extension Memorisation {
  /// The pairs in rows of four, nearest first; they are files.
  fileprivate func picture() throws -> RGBImage {
    let images = try nearestPairs.flatMap { [$0.image, $0.trainingImage] }.map {
      try RGBImage(png: [UInt8](Data(contentsOf: URL(fileURLWithPath: $0))))
    }
    let pairs = stride(from: 0, to: images.count, by: 2).map { RGBImage.grid([images[$0], images[$0 + 1]], columns: 2, padding: 1) }
    return RGBImage.grid(pairs, columns: 4, padding: 6)
  }
}
