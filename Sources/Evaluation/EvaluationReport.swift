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
  /// The part of the generated images whose class most of their five nearest real images have; `nil`: classes are not known.
  package var neighbourAccuracy: Double?
  /// KID of each class alone, all images at once.
  package var classKid: [String: Double]?
  package var memorisation: Memorisation?

  /// Distances to the nearest training image: of copies they are small.
  package struct Memorisation: Sendable, Codable {
    /// The hundredth part of the generated images, and of the held-out real ones, is nearer than this.
    package var generatedFirstPercentile, heldOutFirstPercentile: Double
    /// Generated images nearer to a training image than that percentile of the held-out ones.
    package var nearerThanHeldOut: Int
  }

  /// - Parameters:
  ///   - classes: names, by label.
  ///   - training: what the model was trained on, to look for copies of it.
  package init(
    generated: FeatureSet, real: FeatureSet, classes: [String] = [], training: FeatureSet? = nil, seed: UInt64 = 0,
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
    if generated.labels != nil, real.labels != nil {
      neighbourAccuracy = try nearestNeighbourAccuracy(of: generated, in: real)
      var each: [String: Double] = [:]
      for (label, name) in classes.enumerated() {
        guard let those = try generated.ofClass(label), let others = try real.ofClass(label) else { continue }
        each[name] = try KernelDistance(others, those, size: nil).mean
      }
      classKid = each
    }
    guard let training else { return }
    progress("nearest training images")
    let generatedDistances = try nearestDistances(of: generated, in: training).sorted()
    let heldOut = try nearestDistances(of: real, in: training).sorted()
    let limit = heldOut[heldOut.count / 100]
    memorisation = Memorisation(
      generatedFirstPercentile: generatedDistances[generatedDistances.count / 100], heldOutFirstPercentile: limit,
      nearerThanHeldOut: generatedDistances.count { $0 < limit })
  }
}
