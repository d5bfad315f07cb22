/// What the network's first three channels mean. With a = √ᾱ and b = √(1-ᾱ): x_t = a·x_0 + b·ε.
package enum Prediction: String, Codable, Hashable, Sendable, CaseIterable {
  case epsilon
  /// v = a·ε - b·x_0 (Salimans & Ho 2022).
  case v
  case x0

  /// x̂_0 = x·x_t + output·(network output).
  package func x0Coefficients(alphaBar: Double) -> (x: Double, output: Double) {
    switch self {
    case .epsilon: ((1 / alphaBar).squareRoot(), -(1 / alphaBar - 1).squareRoot())
    case .v: (alphaBar.squareRoot(), -(1 - alphaBar).squareRoot())
    case .x0: (0, 1)
    }
  }

  /// The training target = x0·x_0 + noise·ε.
  package func targetCoefficients(alphaBar: Double) -> (x0: Double, noise: Double) {
    switch self {
    case .epsilon: (0, 1)
    case .v: (-(1 - alphaBar).squareRoot(), alphaBar.squareRoot())
    case .x0: (1, 0)
    }
  }
}

/// The variance of an ancestral step.
package enum Variance: String, Codable, Hashable, Sendable, CaseIterable {
  /// β̃.
  case fixedSmall = "fixed_small"
  /// β.
  case fixedLarge = "fixed_large"
  /// The network's last three channels v give ln Σ = f·ln β + (1-f)·ln β̃ with f = (v+1)/2 (Nichol & Dhariwal 2021, eq. 15).
  case learnedRange = "learned_range"

  /// Channels the network puts out for RGB.
  package var outputChannels: Int { self == .learnedRange ? 6 : 3 }
}
