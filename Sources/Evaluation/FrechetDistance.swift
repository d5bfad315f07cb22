import Tensors

/// Features as a normal distribution.
private struct Gaussian {
  /// (D) f64.
  let mean: Tensor
  /// R with Σ = RᵀR, the unbiased covariance: (min(N, D), D) f64.
  let root: Tensor
  /// Σ's trace.
  let variance: Double

  init(_ set: FeatureSet) throws {
    mean = try set.features.mean(dims: [0])
    let centred = try set.features.sub(mean).div(Double(set.count - 1).squareRoot())
    root = try centred.triangular()
    variance = try centred.square().sum().item()
  }
}

/// The Fréchet distance of two sets' features, as normal distributions: FID where the features are Inception's (Heusel et al. 2017).
///
/// ‖μ₁ - μ₂‖² + tr Σ₁ + tr Σ₂ - 2 tr (Σ₁Σ₂)^½. With Σ = RᵀR, Σ₁Σ₂ has the eigenvalues of R₁R₂ᵀ(R₁R₂ᵀ)ᵀ, so that the last trace is the sum of R₁R₂ᵀ's
/// singular values: no root is taken of a covariance, which is singular where there are fewer images than features.
/// It is biased upwards the more, the fewer images there are: compare only sets of equal sizes.
package func frechetDistance(_ a: FeatureSet, _ b: FeatureSet) throws -> Double {
  try a.check(against: b)
  let (first, second) = (try Gaussian(a), try Gaussian(b))
  let trace = try first.root.matmul(second.root.transpose(0, 1)).singularValues().sum().item()
  let distance = try first.mean.sub(second.mean).square().sum().item()
  return distance + first.variance + second.variance - 2 * trace
}
