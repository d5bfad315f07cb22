/// How near a set of generated images is to real ones, by their features.
package struct EvaluationReport: Sendable, Codable {
  package var images: Int
  package var referenceImages: Int
  package var fid: Double
  /// Of subsets of 1,000, or if there are fewer images of all at once.
  package var kid: Double
  package var kidDeviation: Double
  /// Of one part; `nil`: the files have no logits.
  package var inceptionScore: Double?
  package var precision, recall, density, coverage: Double
  /// The part of the generated images whose class most of their five nearest real images have; `nil`: classes are not known, or
  /// there is only one.
  package var neighbourAccuracy: Double?
  /// `nil`: classes are not known, or there is only one.
  package var classes: [OfClass]?
  /// `nil`: classes are not known, or there is only one.
  package var classification: ClassificationAccuracy?
  /// `nil`: no training images are given.
  package var memorisation: Memorisation?

  /// The images of one class against the real ones of it.
  package struct OfClass: Sendable, Codable {
    package var name: String
    package var images: Int
    package var referenceImages: Int
    /// Of all images at once.
    package var kid: Double
    /// With three neighbours; `nil`: there are too few images for so many.
    package var precision, recall: Double?
    /// The part whose class most of the five nearest real images, of all classes, have.
    package var neighbourAccuracy: Double
  }

  /// - Parameters:
  ///   - classes: names, by label; none: their numbers are their names.
  ///   - training: what the model was trained on, to look for copies of it.
  ///   - pairs: how many of the pairs that are most like copies are named.
  ///   - progress: told what is computed next.
  package init(
    generated: FeatureSet, real: FeatureSet, classes: [String] = [], training: FeatureSet? = nil, pairs: Int = 12, seed: UInt64 = 0,
    progress: (String) -> Void = { _ in }
  ) throws {
    images = generated.count
    referenceImages = real.count
    progress("Fréchet distance")
    fid = try frechetDistance(real, generated)
    progress("kernel distance")
    let distance = try KernelDistance(real, generated, seed: seed)
    (kid, kidDeviation) = (distance.mean, distance.deviation)
    inceptionScore = try generated.logits.map { try Evaluation.inceptionScore($0).mean }
    progress("manifolds")
    let manifold = try ManifoldMetrics(real: real, generated: generated)
    (precision, recall, density, coverage) = (manifold.precision, manifold.recall, manifold.density, manifold.coverage)
    if let labels = generated.labels, let known = real.labels.map(Set.init), known.count > 1 {
      progress("classes")
      let found = try neighbourLabels(of: generated, in: real)
      func accuracy(_ chosen: [Int]) -> Double { Double(chosen.count { found[$0] == labels[$0] }) / Double(chosen.count) }
      neighbourAccuracy = accuracy(Array(labels.indices))
      self.classes = try known.sorted().compactMap { label in
        guard let those = try generated.ofClass(label), let others = try real.ofClass(label) else { return nil }
        let manifold = min(those.count, others.count) > 3 ? try ManifoldMetrics(real: others, generated: those) : nil
        return OfClass(
          name: classes.indices.contains(label) ? classes[label] : "\(label)", images: those.count, referenceImages: others.count,
          kid: try KernelDistance(others, those, size: nil).mean,
          precision: manifold?.precision, recall: manifold?.recall,
          neighbourAccuracy: accuracy(labels.indices.filter { labels[$0] == label }))
      }
      progress("classifiers")
      classification = try ClassificationAccuracy(
        generated: generated, test: real, training: training?.labels == nil ? nil : training)
    }
    if let training {
      progress("nearest training images")
      memorisation = try Memorisation(generated: generated, heldOut: real, training: training, pairs: pairs)
    }
  }
}
