import Tensors

/// The classification accuracy score (Ravuri and Vinyals 2019): how well a classifier that learns from generated images alone classes real ones,
/// beside the same classifier after as many real ones. What the generated images lack of a class, it cannot learn from them.
///
/// The paper trains a ResNet-50 on the pixels; here it is a logistic regression on the feature net's features, which is quick and has one result,
/// and forgives more: compare with nobody's ResNet figures.
package struct ClassificationAccuracy: Sendable, Codable {
  package struct Score: Sendable, Codable {
    /// Images that the classifier learnt from.
    package var images: Int
    /// The parts of the real images whose class is the likeliest, and one of the five likeliest.
    package var top1, top5: Double
  }

  package var classifier = "logistic regression on the frozen features"
  /// Real images that it is tested on.
  package var testImages: Int
  package var generated: Score
  /// After training images, of each class as many as there are generated ones, or all; `nil`: none are given.
  package var real: Score?

  /// - Parameters:
  ///   - generated: with labels.
  ///   - test: real images with labels that neither the model nor a classifier has seen.
  ///   - training: real images with labels.
  package init(generated: FeatureSet, test: FeatureSet, training: FeatureSet? = nil) throws {
    guard let labels = test.labels, let own = generated.labels else { throw EvaluationError("the images' classes are not known") }
    let classes = (labels + own + (training?.labels ?? [])).max().map { $0 + 1 } ?? 0
    try generated.check(against: test)
    func score(_ set: FeatureSet) throws -> Score {
      let logits = try LogisticRegression(set, classes: classes).logits(test).doubles()
      // How many classes are likelier than an image's own.
      let ranks = labels.enumerated().map { row, label in
        logits[row * classes..<(row + 1) * classes].count { $0 > logits[row * classes + label] }
      }
      func part(_ top: Int) -> Double { Double(ranks.count { $0 < top }) / Double(ranks.count) }
      return Score(images: set.count, top1: part(1), top5: part(5))
    }
    testImages = test.count
    self.generated = try score(generated)
    real = try training.map { try score($0.asManyOfEachClass(as: generated)) }
  }
}

extension FeatureSet {
  /// The first images of each class, as many as another set has of it, or all.
  fileprivate func asManyOfEachClass(as other: FeatureSet) throws -> FeatureSet {
    var left = Dictionary((other.labels ?? []).map { ($0, 1) }, uniquingKeysWith: +)
    var chosen: [Int] = []
    for (index, label) in (labels ?? []).enumerated() where left[label, default: 0] > 0 {
      left[label, default: 0] -= 1
      chosen.append(index)
    }
    guard chosen.count >= 2 else { throw EvaluationError("the training images are of other classes than the generated ones") }
    return try choosing(chosen)
  }
}
