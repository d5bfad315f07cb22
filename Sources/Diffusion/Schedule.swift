/// How β grows over the training steps.
package enum ScheduleKind: String, Codable, Hashable, Sendable, CaseIterable {
  /// ᾱ(t) = cos²((t + 0.008)/1.008 · π/2), β clipped at 0.999 (Nichol & Dhariwal 2021, eq. 17).
  case cosine
  /// β evenly spaced from 1e-4·(1000/T) to 0.02·(1000/T) (Ho et al. 2020, scaled as guided-diffusion does).
  case linear
}

/// The tables of a variance-preserving diffusion process with T steps, in float64. Index i = t - 1, 0-based.
package struct Schedule: Hashable, Sendable {
  package let betas: [Double]
  /// ᾱ: the running product of 1 - β.
  package let alphaBars: [Double]

  /// `steps` in 2…100,000.
  package init(_ kind: ScheduleKind, steps: Int) throws(DiffusionError) {
    guard (2...100_000).contains(steps) else {
      throw DiffusionError(.schedule, "a schedule has 2 to 100000 training steps, not \(steps)")
    }
    let count = Double(steps)
    switch kind {
    case .cosine:
      func alphaBar(_ step: Int) -> Double {
        let c = PortableMath.cosQuarterTurns((Double(step) / count + 0.008) / 1.008)
        return c * c
      }
      self.init(betas: (0..<steps).map { Swift.min(1 - alphaBar($0 + 1) / alphaBar($0), 0.999) })
    case .linear:
      let start = 1e-4 * (1000 / count)
      let end = Swift.min(0.02 * (1000 / count), 0.999)
      let stride = (end - start) / (count - 1)
      self.init(betas: (0..<steps).map { $0 == steps - 1 ? end : start + Double($0) * stride })
    }
  }

  /// Every β in (0, 1).
  package init(betas: [Double]) {
    precondition(!betas.isEmpty && betas.allSatisfy { $0 > 0 && $0 < 1 }, "every beta lies between 0 and 1")
    self.betas = betas
    var product = 1.0
    self.alphaBars = betas.map { beta in
      product *= 1 - beta
      return product
    }
  }

  package var steps: Int { betas.count }

  /// ᾱ of the index before; 1 before the first.
  package func alphaBarBefore(_ i: Int) -> Double { i == 0 ? 1 : alphaBars[i - 1] }

  /// β̃: the variance of q(x_{i-1} | x_i, x_0); 0 at index 0.
  package func posteriorVariance(_ i: Int) -> Double { betas[i] * (1 - alphaBarBefore(i)) / (1 - alphaBars[i]) }

  /// ln β̃, with index 0, where β̃ is 0, taking the value of index 1.
  package func posteriorLogVarianceClipped(_ i: Int) -> Double {
    PortableMath.log(posteriorVariance(i == 0 && steps > 1 ? 1 : i))
  }

  /// (c1, c2) of the mean c1·x_0 + c2·x_i of q(x_{i-1} | x_i, x_0).
  package func posteriorMeanCoefficients(_ i: Int) -> (x0: Double, x: Double) {
    let before = alphaBarBefore(i)
    let rest = 1 - alphaBars[i]
    return (betas[i] * before.squareRoot() / rest, (1 - before) * (1 - betas[i]).squareRoot() / rest)
  }

  /// The process seen only at the given ascending indices: β'_k = 1 - ᾱ[i_k]/ᾱ[i_{k-1}].
  package func respaced(_ indices: [Int]) -> Schedule {
    var last = 1.0
    return Schedule(
      betas: indices.map { i in
        defer { last = alphaBars[i] }
        return 1 - alphaBars[i] / last
      })
  }
}
