import Foundation
import Tensors
import Testing

@testable import Evaluation

/// Known answers of clean-fid, prdc, scikit-learn, scikit-image and numpy; `ops/reference/make_metric_goldens.py` makes them.
struct Answers: Decodable {
  struct Manifold: Decodable { var precision, recall, density, coverage: Double }

  var fid, kid, kidEqual, inceptionScore: Double
  var prdc3, prdc5: Manifold
  var netFeatures, netLogits: [[Double]]
  var classProbabilities: [[Double]]
  var ssim: Double

  static func load() throws -> Answers {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Answers.self, from: Data(contentsOf: URL(fileURLWithPath: path("answers.json"))))
  }

  static func path(_ name: String) throws -> String {
    try #require(Bundle.module.path(forResource: "Goldens", ofType: nil)) + "/" + name
  }

  static func set(_ name: String) throws -> FeatureSet { try FeatureSet(contentsOf: path("\(name).safetensors")) }
}

@Suite struct MetricsTests {
  private func isClose(_ a: Double, _ b: Double, _ tolerance: Double = 1e-6) -> Bool { abs(a - b) <= tolerance * abs(b) }

  @Test func theFréchetDistanceIsCleanFIDs() throws {
    let (real, fake) = (try Answers.set("real"), try Answers.set("fake"))
    let distance = try frechetDistance(real, fake)
    #expect(isClose(distance, try Answers.load().fid), "\(distance)")
    #expect(isClose(try frechetDistance(fake, real), distance, 1e-9))
    #expect(abs(try frechetDistance(real, real)) < 1e-6)
  }

  /// Fewer images than features: the covariances are singular.
  @Test func aSingularCovarianceHasADistance() throws {
    let a = try FeatureSet(features: Tensor.randn(shape: [10, 40], seed: 1))
    let b = try FeatureSet(features: Tensor.randn(shape: [10, 40], seed: 2))
    let distance = try frechetDistance(a, b)
    #expect(distance.isFinite && distance > 0)
    #expect(abs(try frechetDistance(a, a)) < 1e-5)
  }

  @Test func theKernelDistanceIsCleanFIDs() throws {
    let answers = try Answers.load()
    let (real, fake) = (try Answers.set("real"), try Answers.set("fake"))
    let all = try KernelDistance(real, fake, size: nil)
    #expect(isClose(all.mean, answers.kid) && all.deviation == 0, "\(all)")
    let first = try FeatureSet(features: real.features.narrow(dim: 0, start: 0, length: 240))
    #expect(isClose(try KernelDistance(first, fake, size: nil).mean, answers.kidEqual))
  }

  @Test func subsetsFollowFromTheSeed() throws {
    let (real, fake) = (try Answers.set("real"), try Answers.set("fake"))
    let some = try KernelDistance(real, fake, subsets: 50, size: 100, seed: 4)
    #expect(some == (try KernelDistance(real, fake, subsets: 50, size: 100, seed: 4)))
    #expect(some != (try KernelDistance(real, fake, subsets: 50, size: 100, seed: 5)))
    // Unbiased: the mean of many is near that of all.
    #expect(abs(some.mean - (try Answers.load().kid)) < 4 * some.deviation / 50.0.squareRoot() && some.deviation > 0, "\(some)")
  }

  @Test func theInceptionScoreIsTorchFidelitys() throws {
    let logits = try #require(try Answers.set("fake").logits)
    #expect(isClose(try inceptionScore(logits).mean, try Answers.load().inceptionScore))
    // Every image sure of its class, all classes equally frequent: as many as there are classes.
    let sure = try Tensor((0..<40).flatMap { row in (0..<4).map { Float($0 == row % 4 ? 100 : 0) } }, shape: [40, 4])
    let (mean, deviation) = try inceptionScore(sure, splits: 10)
    #expect(abs(mean - 4) < 1e-9 && deviation < 1e-9)
  }

  @Test func manifoldsArePRDCs() throws {
    let answers = try Answers.load()
    let (real, fake) = (try Answers.set("real"), try Answers.set("fake"))
    for (k, expected) in [(3, answers.prdc3), (5, answers.prdc5)] {
      let found = try ManifoldMetrics(real: real, generated: fake, k: k)
      #expect(isClose(found.precision, expected.precision, 1e-12) && isClose(found.recall, expected.recall, 1e-12), "\(found)")
      #expect(isClose(found.density, expected.density, 1e-12) && isClose(found.coverage, expected.coverage, 1e-12), "\(found)")
    }
  }

  @Test func neighboursVote() throws {
    let reference = try FeatureSet(features: Tensor([0, 1, 2, 10, 11, 12] as [Float], shape: [6, 1]), labels: [0, 0, 1, 1, 1, 1])
    let set = try FeatureSet(features: Tensor([0.4, 10.4, 1.6, 0.6] as [Float], shape: [4, 1]), labels: [0, 1, 0, 1])
    #expect(try neighbourLabels(of: set, in: reference, k: 3) == [0, 1, 0, 0])
    let nearest = try nearestNeighbours(of: set, in: reference)
    #expect(nearest.map(\.index) == [0, 3, 2, 1] && nearest.allSatisfy { abs($0.distance - 0.4) < 1e-6 })
  }

  @Test func whatDoesNotFitIsRefused() throws {
    let (a, b) = (try FeatureSet(features: .randn(shape: [9, 3], seed: 0)), try FeatureSet(features: .randn(shape: [9, 4], seed: 0)))
    #expect { try frechetDistance(a, b) } throws: { "\($0)".contains("different nets") }
    #expect { try ManifoldMetrics(real: a, generated: a, k: 9) } throws: { "\($0)".contains("k = 9") }
    #expect { try neighbourLabels(of: a, in: a) } throws: { "\($0)".contains("classes") }
    #expect { try FeatureSet(features: .randn(shape: [1, 4], seed: 0)) } throws: { "\($0)".contains("two images") }
    #expect { try FeatureSet(features: .randn(shape: [3, 4], seed: 0), labels: [1]) } throws: { "\($0)".contains("as many") }
    #expect { try FeatureSet(contentsOf: Answers.path("answers.json")) } throws: { "\($0)".contains("answers.json") }
  }

  @Test func aReportHasEverything() throws {
    let set = try FeatureSet(
      features: .randn(shape: [60, 8], seed: 3), logits: .randn(shape: [60, 5], seed: 4), labels: (0..<60).map { $0 % 2 })
    let other = try FeatureSet(features: .randn(shape: [50, 8], seed: 5), labels: (0..<50).map { $0 % 2 })
    let report = try EvaluationReport(generated: set, real: other, classes: ["a", "b"], training: set, pairs: 3)
    #expect(report.inceptionScore != nil && report.classification?.real?.images == 60)
    // The generated images are the training set's own.
    #expect(report.memorisation?.nearerThanHeldOut == 60 && (report.memorisation?.generatedFirstPercentile ?? 1) < 1e-6)
    #expect(report.memorisation?.nearestPairs.count == 3)
    // Of each class what it is alone, and of all the mean.
    let classes = try #require(report.classes)
    #expect(classes.map(\.name) == ["a", "b"] && classes.map(\.images) == [30, 30] && classes.map(\.referenceImages) == [25, 25])
    let (those, real) = (try #require(try set.ofClass(1)), try #require(try other.ofClass(1)))
    let manifold = try ManifoldMetrics(real: real, generated: those)
    #expect(classes[1].precision == manifold.precision && classes[1].recall == manifold.recall)
    #expect(try classes[1].kid == KernelDistance(real, those, size: nil).mean)
    #expect(abs((classes[0].neighbourAccuracy + classes[1].neighbourAccuracy) / 2 - (report.neighbourAccuracy ?? 0)) < 1e-12)
    // Without classes, or with one alone, there is nothing to say of them.
    let single = try FeatureSet(features: set.features, labels: [Int](repeating: 0, count: 60))
    let plain = try EvaluationReport(generated: single, real: single)
    #expect(plain.classes == nil && plain.classification == nil && plain.neighbourAccuracy == nil && plain.memorisation == nil)
  }
}
