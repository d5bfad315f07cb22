/// The numbers that one training example's loss needs at its timestep; the tensor arithmetic is the trainer's.
package struct LossCoefficients: Hashable, Sendable {
  /// x_t = signal·x_0 + noise·ε.
  package let signal, noise: Double
  /// target = targetX0·x_0 + targetNoise·ε.
  package let targetX0, targetNoise: Double
  /// x̂_0 = x0FromX·x_t + x0FromOutput·output, for the variational term, unclipped.
  package let x0FromX, x0FromOutput: Double
  /// Mean of q(x_{t-1} | x_t, x_0) = meanFromX0·x_0 + meanFromX·x_t.
  package let meanFromX0, meanFromX: Double
  /// The learned range of ln Σ; the lower end is also the true posterior's log-variance.
  package let logVarianceLow, logVarianceHigh: Double
  /// What the variational term, in bits per dimension, is multiplied with in the hybrid loss: λ·T with λ = 0.001.
  package let variationalWeight: Double
  /// Index 0: the term is the discretised decoder likelihood instead of a divergence.
  package let isDecoder: Bool

  package init(_ schedule: Schedule, timestep i: Int, prediction: Prediction) {
    let alphaBar = schedule.alphaBars[i]
    (signal, noise) = (alphaBar.squareRoot(), (1 - alphaBar).squareRoot())
    (targetX0, targetNoise) = prediction.targetCoefficients(alphaBar: alphaBar)
    (x0FromX, x0FromOutput) = prediction.x0Coefficients(alphaBar: alphaBar)
    (meanFromX0, meanFromX) = schedule.posteriorMeanCoefficients(i)
    logVarianceLow = schedule.posteriorLogVarianceClipped(i)
    logVarianceHigh = PortableMath.log(schedule.betas[i])
    variationalWeight = Double(schedule.steps) / 1000
    isDecoder = i == 0
  }
}
