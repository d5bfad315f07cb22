/// Classifier-free guidance (Ho & Salimans 2022): what the network says of a label, moved away from what it says of the null class.
package struct Guidance: Hashable, Sendable {
  package static let weights = 0.0...100.0

  /// w of ε = ε_u + w·(ε_c - ε_u): 1 is no guidance, 0 the null class alone.
  package let weight: Double
  /// p of dynamic thresholding (Saharia et al. 2022): x̂_0 is clipped to [-s, s] and divided by s, where s is the part p of its magnitudes, at least 1.
  /// `nil`: clipped to [-1, 1] as without guidance.
  package let threshold: Double?

  /// - Parameters:
  ///   - weight: one of `weights`.
  ///   - threshold: more than 0, at most 1.
  package init(weight: Double, threshold: Double? = nil) throws(DiffusionError) {
    guard Self.weights.contains(weight) else {
      throw DiffusionError(.guidance, "guidance \(weight): choose a weight from 0 to 100, 1 is none")
    }
    if let threshold, !(threshold > 0 && threshold <= 1) {
      throw DiffusionError(.guidance, "threshold \(threshold): choose a part of the pixels, more than 0 and at most 1, such as 0.995")
    }
    self.weight = weight
    self.threshold = threshold
  }

  /// The network's output for a sampler: of the first `count` numbers the combination, of the rest, a learned variance, what the label's are.
  ///
  /// v and x_0 are the same affine function of ε, at the same x_t: they combine as ε does.
  package func combine(
    _ conditional: UnsafeBufferPointer<Float>, unconditional: UnsafeBufferPointer<Float>, count: Int
  ) -> [Float] {
    precondition(conditional.count == unconditional.count && count <= conditional.count, "the two outputs are of one size")
    let weight = Float(weight)
    var output = Array(conditional)
    for i in 0..<count { output[i] = unconditional[i] + weight * (conditional[i] - unconditional[i]) }
    return output
  }

  /// Dynamic thresholding of an estimate, in place; the part p lies between two magnitudes as a line does.
  static func threshold(_ estimate: inout [Float], part: Double) {
    let magnitudes = estimate.map { abs($0) }.sorted()
    let place = part * Double(magnitudes.count - 1)
    let (low, high) = (magnitudes[Int(place)], magnitudes[Int(place.rounded(.up))])
    let limit = max(1, low + Float(place - place.rounded(.down)) * (high - low))
    // A NaN stays one, so that it is seen.
    for i in estimate.indices { estimate[i] = (estimate[i] < -limit ? -limit : estimate[i] > limit ? limit : estimate[i]) / limit }
  }
}
