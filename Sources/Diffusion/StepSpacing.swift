/// How a sampler's steps are spread over the T training steps.
package enum StepSpacing: Hashable, Sendable {
  /// Evenly in t, by guided-diffusion's rule.
  case uniform
  /// By noise level: step i of n is at σ_i = (σ_max^(1/ρ) + i/(n-1)·(σ_min^(1/ρ) - σ_max^(1/ρ)))^ρ (Karras et al. 2022, equation 5), where
  /// σ = √((1-ᾱ)/ᾱ) is noise over signal. The larger ρ, the more of the steps are among the low noise levels, where detail is decided; and none
  /// is spent outside of `noise`, σ_min…σ_max: above it x is noise alone, below it nothing can be seen of it.
  case karras(rho: Double, noise: ClosedRange<Double>)

  /// `steps` different original indices, ascending.
  ///
  /// - Parameter steps: 1…T.
  package func indices(_ steps: Int, _ schedule: Schedule) throws(DiffusionError) -> [Int] {
    guard (1...schedule.steps).contains(steps) else {
      throw DiffusionError(.steps, "\(steps) steps: choose between 1 and \(schedule.steps), the number of training steps")
    }
    switch self {
    case .uniform: return steps == 1 ? [schedule.steps - 1] : try Respacing.sections([steps], trainSteps: schedule.steps)
    case .karras(let rho, let noise): return Self.karras(steps, rho, noise, schedule)
    }
  }

  private static func karras(_ steps: Int, _ rho: Double, _ noise: ClosedRange<Double>, _ schedule: Schedule) -> [Int] {
    func power(_ x: Double, _ exponent: Double) -> Double { PortableMath.exp(exponent * PortableMath.log(x)) }
    let (low, high) = (power(noise.lowerBound, 1 / rho), power(noise.upperBound, 1 / rho))
    var indices = (0..<steps).map { step in
      nearest(power(steps == 1 ? high : low + Double(step) / Double(steps - 1) * (high - low), rho), schedule)
    }
    // Where several fall on one index, they move apart.
    for step in indices.indices.dropFirst() { indices[step] = max(indices[step], indices[step - 1] + 1) }
    for step in indices.indices { indices[step] = min(indices[step], schedule.steps - (steps - step)) }
    return indices
  }

  /// The index whose noise over signal is nearest to `sigma`, as a ratio.
  private static func nearest(_ sigma: Double, _ schedule: Schedule) -> Int {
    func square(_ index: Int) -> Double { (1 - schedule.alphaBars[index]) / schedule.alphaBars[index] }
    let wanted = sigma * sigma
    var (low, high) = (0, schedule.steps - 1)
    while low < high {
      let middle = (low + high) / 2
      if square(middle) < wanted { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else { return 0 }
    return wanted * wanted < square(low - 1) * square(low) ? low - 1 : low
  }
}
