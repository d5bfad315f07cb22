import ArgumentParser
import Evaluation

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
    let report = try EvaluationReport(
      generated: FeatureSet(contentsOf: b), real: FeatureSet(contentsOf: a), seed: seed, progress: ProgressLine.show)
    ProgressLine.clear()
    print(try json ? report.json : report.text)
  }
}
