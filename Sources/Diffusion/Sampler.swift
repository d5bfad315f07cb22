/// The way from noise to an image.
package enum SamplerKind: String, Codable, Hashable, Sendable, CaseIterable {
  /// Ancestral sampling (Ho et al. 2020).
  case ddpm
  /// DDIM with η (Song et al. 2021).
  case ddim
  /// DPM-Solver++(2M), data prediction (Lu et al. 2022).
  case dpmSolver2M = "dpm++2m"
}

/// A sampler for one sample: every step is x ← a·x̂_0 + b·x + p·(previous x̂_0) + g·noise with x̂_0 = clip(u·x + w·output) and numbers that depend
/// on the step alone. Element by element, so a batch cannot change anything.
///
/// Arithmetic is in Float with coefficients computed in Double and rounded once.
package struct Sampler: Hashable, Sendable {
  package let kind: SamplerKind
  package let variance: Variance
  /// The network's time input at each step: original indices, descending.
  package let timesteps: [Int]
  private let table: [Step]
  private let trainSteps: Int
  private let clips: Bool

  /// - Parameters:
  ///   - steps: 1…T network calls over the whole range.
  ///   - eta: of DDIM, 0…1; the others ignore it.
  ///   - s: where a truncated run stops: it yields z_s, at the noise level of index s-1. Visits only the indices >= s of the same spacing.
  ///   - clip: whether x̂_0 is clipped to [-1, 1].
  package init(
    _ kind: SamplerKind, steps: Int, spacing: StepSpacing = .uniform, eta: Double = 0, schedule: Schedule, prediction: Prediction,
    variance: Variance = .fixedSmall, until s: Int = 0, clip: Bool = true
  ) throws(DiffusionError) {
    try self.init(
      kind, indices: spacing.indices(steps, schedule), eta: eta, schedule: schedule, prediction: prediction, variance: variance, until: s,
      clip: clip)
  }

  /// `indices`: ascending original indices, see `StepSpacing` and `Respacing`.
  package init(
    _ kind: SamplerKind, indices: [Int], eta: Double = 0, schedule: Schedule, prediction: Prediction, variance: Variance = .fixedSmall,
    until s: Int = 0, clip: Bool = true
  ) throws(DiffusionError) {
    guard eta >= 0, eta <= 1 else { throw DiffusionError(.eta, "eta \(eta): choose between 0 (deterministic) and 1") }
    guard let first = indices.first, let last = indices.last, first >= 0, last < schedule.steps,
      zip(indices, indices.dropFirst()).allSatisfy({ $0 < $1 })
    else { throw DiffusionError(.respacing, "timesteps ascend within 0 to \(schedule.steps - 1)") }
    guard (0...last).contains(s) else {
      throw DiffusionError(.truncation, "a truncated run over these steps stops at s between 0 and \(last), not at \(s)")
    }
    self.kind = kind
    self.variance = variance
    self.clips = clip
    self.trainSteps = schedule.steps
    let kept = indices.filter { $0 >= s }
    self.timesteps = kept.reversed()
    let end = s == 0 ? 1 : schedule.alphaBars[s - 1]
    var table: [Step] = []
    for k in kept.indices.reversed() {
      let levels = Levels(
        now: schedule.alphaBars[kept[k]], next: k == 0 ? end : schedule.alphaBars[kept[k - 1]],
        before: k + 1 < kept.count ? schedule.alphaBars[kept[k + 1]] : nil)
      let (x, output) = prediction.x0Coefficients(alphaBar: levels.now)
      var step = Step(x0FromX: Float(x), x0FromOutput: Float(output))
      switch kind {
      case .ddpm: step.ancestral(levels, variance)
      case .ddim: step.ddim(levels, eta)
      case .dpmSolver2M:
        // Second order needs a previous estimate; with few steps the last one is of first order again.
        step.dpmSolver(levels, secondOrder: k + 1 < kept.count && !(k == 0 && kept.count < 10))
      }
      table.append(step)
    }
    self.table = table
  }

  /// Network calls of a run.
  package var steps: Int { table.count }

  /// The state before the first step: x_T for `count` elements (3·R², in CHW order).
  package func start(_ noise: NoiseSource, count: Int) -> SamplerState {
    SamplerState(x: noise.field(.initial, timestep: trainSteps, count: count))
  }

  /// Whether a state that has finished `step` steps carries the previous x̂_0.
  package func keepsHistory(after step: Int) -> Bool { step > 0 && step < steps && table[step].previous != 0 }

  /// Floats that the network puts out for a state of `count` elements.
  package func outputCount(for count: Int) -> Int { variance == .learnedRange ? 2 * count : count }

  /// Takes the step `state.step` with the network's output for (state.x, timesteps[state.step]).
  ///
  /// `modelOutput` has `outputCount(for: state.x.count)` elements: the prediction, then for a learned variance its logits.
  package func advance(_ state: inout SamplerState, modelOutput: UnsafeBufferPointer<Float>, noise: NoiseSource) {
    precondition(state.step < steps, "the run is over")
    let count = state.x.count
    precondition(modelOutput.count == outputCount(for: count), "the network's output has the wrong size")
    let step = table[state.step]
    let fresh = step.isNoisy ? noise.field(.step, timestep: timesteps[state.step], count: count) : []
    let keeps = keepsHistory(after: state.step + 1)
    var estimate: [Float] = []
    let previous = state.history
    precondition(step.previous == 0 || previous?.count == count, "this step needs the previous estimate")
    state.x.withUnsafeMutableBufferPointer { x in
      if let previous, step.previous != 0 {
        previous.withUnsafeBufferPointer { previous in
          estimate = [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
            for i in 0..<count {
              let x0 = step.estimate(x[i], modelOutput[i], clips)
              buffer[i] = x0
              x[i] = step.x * x[i] + step.x0 * x0 + step.previous * previous[i]
            }
            initialized = count
          }
        }
      } else if keeps {
        estimate = [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
          for i in 0..<count {
            let x0 = step.estimate(x[i], modelOutput[i], clips)
            buffer[i] = x0
            x[i] = step.x * x[i] + step.x0 * x0
          }
          initialized = count
        }
      } else {
        for i in 0..<count { x[i] = step.x * x[i] + step.x0 * step.estimate(x[i], modelOutput[i], clips) }
      }
      guard step.isNoisy else { return }
      fresh.withUnsafeBufferPointer { fresh in
        if let range = step.range {
          for i in 0..<count {
            let fraction = (Double(modelOutput[count &+ i]) + 1) / 2
            let logVariance = fraction * range.high + (1 - fraction) * range.low
            x[i] += Float(PortableMath.exp(0.5 * logVariance)) * fresh[i]
          }
        } else {
          for i in 0..<count { x[i] += step.noise * fresh[i] }
        }
      }
    }
    state.history = keeps ? estimate : nil
    state.step += 1
  }
}

/// ᾱ at a step's point, at the point it goes to, and at the point it came from.
private struct Levels {
  var now, next: Double
  var before: Double?
}

/// One step's numbers.
private struct Step: Hashable, Sendable {
  struct Range: Hashable, Sendable { var low, high: Double }

  var x0FromX, x0FromOutput: Float
  var x0: Float = 0
  var x: Float = 0
  var previous: Float = 0
  var noise: Float = 0
  /// Of a learned log-variance.
  var range: Range?

  var isNoisy: Bool { noise != 0 || range != nil }

  init(x0FromX: Float, x0FromOutput: Float) {
    self.x0FromX = x0FromX
    self.x0FromOutput = x0FromOutput
  }

  /// x̂_0; a NaN stays one, so that it is seen.
  @inline(__always)
  func estimate(_ x: Float, _ output: Float, _ clips: Bool) -> Float {
    let value = x0FromX * x + x0FromOutput * output
    guard clips else { return value }
    return value < -1 ? -1 : (value > 1 ? 1 : value)
  }

  /// Posterior q(x_next | x_now, x̂_0) of the respaced chain; no noise on the way to x_0.
  mutating func ancestral(_ levels: Levels, _ variance: Variance) {
    let alpha = levels.now / levels.next
    let beta = 1 - alpha
    let rest = 1 - levels.now
    x0 = Float(beta * levels.next.squareRoot() / rest)
    x = Float((1 - levels.next) * alpha.squareRoot() / rest)
    guard levels.next < 1 else { return }
    let posterior = beta * (1 - levels.next) / rest
    switch variance {
    case .fixedSmall: noise = Float(posterior.squareRoot())
    case .fixedLarge: noise = Float(beta.squareRoot())
    case .learnedRange: range = Range(low: PortableMath.log(posterior), high: PortableMath.log(beta))
    }
  }

  /// x_next = √ᾱ'·x̂_0 + √(1-ᾱ'-σ²)·ε̂ + σ·noise with ε̂ = (x - √ᾱ·x̂_0)/√(1-ᾱ).
  mutating func ddim(_ levels: Levels, _ eta: Double) {
    let rest = 1 - levels.now
    let sigma =
      levels.next < 1 ? eta * ((1 - levels.next) / rest).squareRoot() * (1 - levels.now / levels.next).squareRoot() : 0
    let direction = Swift.max(1 - levels.next - sigma * sigma, 0).squareRoot() / rest.squareRoot()
    x = Float(direction)
    x0 = Float(levels.next.squareRoot() - direction * levels.now.squareRoot())
    noise = Float(sigma)
  }

  /// x_next = (σ'/σ)·x - α'(e^{-h} - 1)·(m_0 + ½·D), D = (m_0 - m_{-1})·h/h_0. With e^{-h} = σ'α/(α'σ) the first order is DDIM(0).
  mutating func dpmSolver(_ levels: Levels, secondOrder: Bool) {
    ddim(levels, 0)
    guard secondOrder, levels.next < 1, let before = levels.before else { return }
    func lambda(_ alphaBar: Double) -> Double { 0.5 * PortableMath.log(alphaBar / (1 - alphaBar)) }
    let data = levels.next.squareRoot() - ((1 - levels.next) / (1 - levels.now)).squareRoot() * levels.now.squareRoot()
    let h = lambda(levels.next) - lambda(levels.now)
    let half = 0.5 * data * h / (lambda(levels.now) - lambda(before))
    x0 = Float(data + half)
    previous = Float(-half)
  }
}
