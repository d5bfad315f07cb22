import ArgumentParser
import Evaluation
import Foundation

struct Metrics: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Compare two files of features.",
    discussion: """
      Both hold features (N, D) as 'weir-lab features' or any other program writes them, and if known logits (N, C) and labels (N). A is real, B \
      generated: that matters to precision, recall, density, coverage and the inception score, which is B's.
      """)

  @Option(help: "The real images' features, a .safetensors file.")
  var a: String

  @Option(help: "The generated images' features, a .safetensors file.")
  var b: String

  @Option(help: "Seed of KID's subsets.")
  var seed: UInt64 = 0

  @Flag(help: "One JSON object.")
  var json = false

  func run() throws {
    let report = try EvaluationReport(generated: FeatureSet(contentsOf: b), real: FeatureSet(contentsOf: a), seed: seed)
    try report.show(asJSON: json)
  }
}

struct Eval: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say how near generated images are to real ones.",
    discussion: """
      Each of --samples, --reference and --train is a folder with one sub-folder of PNG files a class, or a file that 'weir-lab features' made of \
      one. Distances are in the features of the net that is given, and can only be compared with others in the same net's; FID is biased \
      upwards the more, the fewer images there are.
      """)

  @Option(help: "The generated images.")
  var samples: String

  @Option(help: "Real ones, that the model was not trained on.")
  var reference: String

  @Option(help: "The images that it was trained on, to look for copies of them.")
  var train: String?

  @Option(help: ArgumentHelp("EfficientNet-Lite0's weights; ops/data/make-feature-net makes the file.", valueName: "net"))
  var features: String?

  @Option(help: "Seed of KID's subsets.")
  var seed: UInt64 = 0

  @Flag(help: "One JSON object.")
  var json = false

  func run() throws {
    let net = try features.map { try EfficientNetLite(weights: $0) }
    let (real, classes) = try loadFeatures(reference, net: net)
    let names = classes.isEmpty ? nil : classes
    let (generated, _) = try loadFeatures(samples, net: net, classes: names)
    let training = try train.map { try loadFeatures($0, net: net, classes: names).set }
    let shown = names ?? Set(real.labels ?? []).sorted().map { "\($0)" }
    try EvaluationReport(generated: generated, real: real, classes: shown, training: training, seed: seed).show(asJSON: json)
  }
}

extension EvaluationReport {
  fileprivate func show(asJSON json: Bool) throws {
    if json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys]
      encoder.keyEncodingStrategy = .convertToSnakeCase
      return print(String(decoding: try encoder.encode(self), as: UTF8.self))
    }
    func short(_ value: Double) -> String { String(format: "%.5g", value) }
    print("\(images) generated images against \(referenceImages) real ones")
    print("FID                \(short(fid))")
    print("KID                \(short(kid))\(kidDeviation > 0 ? " ± \(short(kidDeviation))" : "")")
    if let inceptionScore { print("inception score    \(short(inceptionScore))") }
    print("precision, recall  \(short(precision)), \(short(recall))")
    print("density, coverage  \(short(density)), \(short(coverage))")
    if let neighbourAccuracy { print("5-NN accuracy      \(short(neighbourAccuracy))") }
    for (name, value) in (classKid ?? [:]).sorted(by: { $0.key < $1.key }) { print("KID of \(name)  \(short(value))") }
    if let memorisation {
      print(
        "nearest training image, 1st percentile: generated \(short(memorisation.generatedFirstPercentile)), held out "
          + "\(short(memorisation.heldOutFirstPercentile)); \(memorisation.nearerThanHeldOut) generated images are nearer than that")
    }
  }
}
