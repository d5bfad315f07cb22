import Tensors
import Testing

@testable import Evaluation

@Suite struct ClassificationTests {
  @Test func theClassifierIsScikitLearns() throws {
    let (real, fake) = (try Answers.set("real"), try Answers.set("fake"))
    let labels = try real.features.narrow(dim: 1, start: 0, length: 5).argmax(dim: 1).integers().map { Int($0) }
    let model = try LogisticRegression(FeatureSet(features: real.features, labels: labels), classes: 5, tolerance: 1e-9, maxSteps: 20_000)
    let found = try model.logits(fake).softmax(dim: 1).doubles()
    for (row, expected) in try Answers.load().classProbabilities.enumerated() {
      for (column, probability) in expected.enumerated() {
        #expect(abs(found[row * 5 + column] - probability) < 1e-5, "class \(column) of image \(row)")
      }
    }
    // What is used to the default tolerance differs in nothing that counts.
    let quick = try LogisticRegression(FeatureSet(features: real.features, labels: labels), classes: 5)
    #expect(zip(try quick.logits(fake).softmax(dim: 1).doubles(), found).allSatisfy { abs($0 - $1) < 1e-3 })
  }

  /// Six classes in a row, the generated images of which lie where the last but one's should be moved to the others' end.
  @Test func whatIsGeneratedWronglyIsNotLearnt() throws {
    func set(_ centres: [Float], each: Int, seed: UInt64) throws -> FeatureSet {
      let labels = (0..<centres.count * each).map { $0 % centres.count }
      let places = try Tensor(
        labels.flatMap { label in (0..<6).map { $0 == Int(centres[label]) ? Float(8) : 0 } }, shape: [labels.count, 6])
      return try FeatureSet(features: Tensor.randn(shape: [labels.count, 6], seed: seed).add(places), labels: labels)
    }
    let (test, training) = (try set([0, 1, 2, 3, 4, 5], each: 20, seed: 1), try set([0, 1, 2, 3, 4, 5], each: 40, seed: 2))
    let good = try ClassificationAccuracy(generated: set([0, 1, 2, 3, 4, 5], each: 30, seed: 3), test: test, training: training)
    #expect(good.generated.top1 > 0.97 && good.generated.top5 == 1 && good.generated.images == 180 && good.testImages == 120)
    // As many of each class as were generated.
    #expect(good.real?.images == 180 && (good.real?.top1 ?? 0) > 0.97)
    // Two classes changed places: their images are taken for each other's, the rest is right.
    let wrong = try ClassificationAccuracy(generated: set([0, 1, 2, 3, 5, 4], each: 30, seed: 3), test: test)
    #expect(abs(wrong.generated.top1 - 4.0 / 6) < 0.03 && wrong.real == nil, "\(wrong)")
  }

  @Test func classesAreNeeded() throws {
    let plain = try FeatureSet(features: .randn(shape: [9, 3], seed: 0))
    let labelled = try FeatureSet(features: plain.features, labels: [0, 1, 2, 0, 1, 2, 0, 1, 2])
    #expect { try ClassificationAccuracy(generated: plain, test: labelled) } throws: { "\($0)".contains("classes") }
    let others = try FeatureSet(features: plain.features, labels: [Int](repeating: 7, count: 9))
    #expect { try ClassificationAccuracy(generated: labelled, test: labelled, training: others) } throws: {
      "\($0)".contains("other classes")
    }
  }
}
