package import Tensors

/// Features as a normal distribution.
package struct FeatureStatistics {
  /// (D) f64.
  package let mean: Tensor
  /// (D, D) f64, unbiased: divided by N - 1.
  package let covariance: Tensor
  /// The covariance's trace.
  package let variance: Double

  package init(_ set: FeatureSet) throws {
    mean = try set.features.mean(dims: [0])
    let centred = try set.features.sub(mean)
    covariance = try centred.transpose(0, 1).matmul(centred).div(Double(set.count - 1))
    variance = try centred.square().sum().item() / Double(set.count - 1)
  }
}

/// The Fréchet distance of two sets' features, as normal distributions: FID where the features are Inception's (Heusel et al. 2017).
///
/// ‖μ₁ - μ₂‖² + tr Σ₁ + tr Σ₂ - 2 tr (Σ₁Σ₂)^½; the last trace is that of the root of the symmetric Σ₁^½ Σ₂ Σ₁^½, whose eigenvalues are the same.
/// It is biased upwards the more, the fewer images there are: compare only sets of equal sizes.
package func frechetDistance(_ a: FeatureSet, _ b: FeatureSet) throws -> Double {
  try a.check(against: b)
  let (first, second) = (try FeatureStatistics(a), try FeatureStatistics(b))
  let (values, vectors) = try first.covariance.eigenDecomposition()
  // Rounding makes some of a singular matrix's eigenvalues a little negative.
  let roots = try values.clamp(min: 0, max: .infinity).sqrt()
  let root = try vectors.mul(roots).matmul(vectors.transpose(0, 1))
  let product = try root.matmul(second.covariance).matmul(root)
  let symmetric = try product.add(product.transpose(0, 1)).mul(0.5)
  let trace = try symmetric.eigenDecomposition().values.clamp(min: 0, max: .infinity).sqrt().sum().item()
  let distance = try first.mean.sub(second.mean).square().sum().item()
  return distance + first.variance + second.variance - 2 * trace
}
