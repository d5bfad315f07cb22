/// The way from noise to an image.
package enum SamplerKind: String, Codable, Hashable, Sendable, CaseIterable {
  /// Ancestral sampling (Ho et al. 2020).
  case ddpm
  /// DDIM with η (Song et al. 2021).
  case ddim
  /// DPM-Solver++(2M), data prediction (Lu et al. 2022).
  case dpmSolver2M = "dpm++2m"
  /// UniPC-2 with B₂, data prediction (Zhao et al. 2023): a predictor, which is DPM-Solver++(2M), and a corrector, which costs no network call.
  case uniPC = "unipc"
}

/// A sampler for one sample: every step is x ← a·x̂_0 + b·x + p·(previous x̂_0) + q·(the one before) + g·noise with x̂_0 = clip(u·x + w·output) and
/// numbers that depend on the step alone. Element by element, so a batch cannot change anything.
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
  private let threshold: Double?

  /// - Parameters:
  ///   - steps: 1…T network calls over the whole range.
  ///   - eta: of DDIM, 0…1; the others ignore it.
  ///   - s: where a truncated run stops: it yields z_s, at the noise level of index s-1. Visits only the indices >= s of the same spacing.
  ///   - clip: whether x̂_0 is clipped to [-1, 1].
  ///   - threshold: of dynamic thresholding, in place of clipping; see `Guidance`.
  package init(
    _ kind: SamplerKind, steps: Int, spacing: StepSpacing = .uniform, eta: Double = 0, schedule: Schedule, prediction: Prediction,
    variance: Variance = .fixedSmall, until s: Int = 0, clip: Bool = true, threshold: Double? = nil
  ) throws(DiffusionError) {
    try self.init(
      kind, indices: spacing.indices(steps, schedule), eta: eta, schedule: schedule, prediction: prediction, variance: variance, until: s,
      clip: clip, threshold: threshold)
  }

  /// `indices`: ascending original indices, see `StepSpacing` and `Respacing`.
  package init(
    _ kind: SamplerKind, indices: [Int], eta: Double = 0, schedule: Schedule, prediction: Prediction, variance: Variance = .fixedSmall,
    until s: Int = 0, clip: Bool = true, threshold: Double? = nil
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
    self.clips = clip && threshold == nil
    self.threshold = threshold
    self.trainSteps = schedule.steps
    let kept = indices.filter { $0 >= s }
    self.timesteps = kept.reversed()
    let end = s == 0 ? 1 : schedule.alphaBars[s - 1]
    // Second order needs a previous estimate; with few steps the last one is of first order again.
    func isSecondOrder(_ k: Int) -> Bool { k + 1 < kept.count && !(k == 0 && kept.count < 10) }
    var table: [Step] = []
    for k in kept.indices.reversed() {
      let levels = Levels(
        now: schedule.alphaBars[kept[k]], next: k == 0 ? end : schedule.alphaBars[kept[k - 1]],
        before: kept.dropFirst(k + 1).prefix(2).map { schedule.alphaBars[$0] })
      let (x, output) = prediction.x0Coefficients(alphaBar: levels.now)
      var step = Step(
        x0FromX: Float(x), x0FromOutput: Float(output), signal: Float(levels.now.squareRoot()), spread: Float((1 - levels.now).squareRoot())
      )
      switch kind {
      case .ddpm: step.ancestral(levels, variance)
      case .ddim: step.ddim(levels, eta)
      case .dpmSolver2M: step.dpmSolver(levels, secondOrder: isSecondOrder(k))
      case .uniPC: step.uniPC(levels, secondOrder: isSecondOrder(k), afterSecondOrder: isSecondOrder(k + 1))
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

  /// The state with `left` steps to go of a run towards `image`: the image, noised (SDEdit, Meng et al. 2022).
  ///
  /// - Parameter left: 1…`steps`; of a multistep sampler `steps`, for such a state has no previous x̂_0.
  package func start(_ noise: NoiseSource, from image: [Float], left: Int) throws(DiffusionError) -> SamplerState {
    guard (1...steps).contains(left) else { throw DiffusionError(.state, "\(left) steps left: choose from 1 to the sampler's \(steps)") }
    let step = steps - left
    guard historyLength(after: step) == 0 else {
      throw DiffusionError(
        .state, "\(kind.rawValue) with \(left) steps left goes on from what it estimated before, and an image has no such estimate")
    }
    var x = noise.field(.initial, timestep: timesteps[step], count: image.count)
    for i in x.indices { x[i] = table[step].signal * image[i] + table[step].spread * x[i] }
    return SamplerState(x: x, step: step)
  }

  /// How many previous x̂_0 a state that has finished `step` steps carries.
  package func historyLength(after step: Int) -> Int { step < steps ? table[step].previous.count : 0 }

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
    precondition(
      state.history.count == step.previous.count && state.history.allSatisfy { $0.count == count },
      "this step needs other previous estimates")
    var estimate = [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      for i in 0..<count { buffer[i] = step.estimate(state.x[i], modelOutput[i], clips) }
      initialized = count
    }
    if let threshold { Guidance.threshold(&estimate, part: threshold) }
    state.x.withUnsafeMutableBufferPointer { x in
      estimate.withUnsafeBufferPointer { estimate in
        for i in 0..<count { x[i] = step.x * x[i] + step.x0 * estimate[i] }
      }
      for (coefficient, previous) in zip(step.previous, state.history) {
        previous.withUnsafeBufferPointer { previous in
          for i in 0..<count { x[i] += coefficient * previous[i] }
        }
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
    state.step += 1
    state.history = Array(([estimate] + state.history).prefix(historyLength(after: state.step)))
  }
}

/// ᾱ at a step's point, at the point it goes to, and at up to two points before it, the last one first.
private struct Levels {
  var now, next: Double
  var before: [Double]
}

/// One step's numbers.
private struct Step: Hashable, Sendable {
  struct Range: Hashable, Sendable { var low, high: Double }

  var x0FromX, x0FromOutput: Float
  /// Of x_0 and of the noise in x at the step's point.
  var signal, spread: Float
  var x0: Float = 0
  var x: Float = 0
  /// Of previous x̂_0, the last one first.
  var previous: [Float] = []
  var noise: Float = 0
  /// Of a learned log-variance.
  var range: Range?

  var isNoisy: Bool { noise != 0 || range != nil }

  init(x0FromX: Float, x0FromOutput: Float, signal: Float, spread: Float) {
    self.x0FromX = x0FromX
    self.x0FromOutput = x0FromOutput
    self.signal = signal
    self.spread = spread
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
    guard secondOrder, levels.next < 1, let before = levels.before.first else { return }
    let (data, half) = Self.secondOrder(before, levels.now, levels.next)
    x0 = Float(data + half)
    previous = [Float(-half)]
  }

  /// DPM-Solver++(2M), but from the corrected x_c = x - α(e^{-h} - 1)·((ρ_1 - ½)·D + ρ_2·(m_0 - m_{-1})) instead of x. Here h is of the step that
  /// led here, D = (m_{-1} - m_{-2})·h/h_0, and ρ solves UniPC's equations of order 2; after a step of first order D is 0 and ρ_2 is ½.
  mutating func uniPC(_ levels: Levels, secondOrder: Bool, afterSecondOrder: Bool) {
    ddim(levels, 0)
    // The way to x_0 takes x̂_0 alone, whatever x is.
    guard levels.next < 1, let before = levels.before.first else { return }
    let h = Self.h(before, levels.now)
    var (rho1, rho2, ratio) = (0.5, 0.5, 0.0)
    if afterSecondOrder, levels.before.count == 2 {
      ratio = h / Self.h(levels.before[1], before)
      let b = PortableMath.exp(-h) - 1
      let g1 = -b / h - 1
      let g2 = -g1 / h - 0.5
      rho1 = (g1 - 2 * g2) / b / (1 + 1 / ratio)
      rho2 = g1 / b - rho1
    }
    let (data, half) = Self.secondOrder(before, levels.now, levels.next)
    let predictor = secondOrder ? [data + half, -half, 0] : [data, 0, 0]
    let weight = Self.data(before, levels.now)
    let slope = weight * (rho1 - 0.5) * ratio
    let correction = [weight * rho2, slope - weight * rho2, -slope]
    let factor = ((1 - levels.next) / (1 - levels.now)).squareRoot()
    let sums = zip(predictor, correction).map { Float($0 + factor * $1) }
    x0 = sums[0]
    previous = Array(sums[1...levels.before.count])
  }

  /// What m_0 contributes to a step of first order, and what D/2 is of m_0 - m_{-1} in one of second order, as a contribution.
  private static func secondOrder(_ before: Double, _ now: Double, _ next: Double) -> (data: Double, half: Double) {
    let data = data(now, next)
    return (data, 0.5 * data * h(now, next) / h(before, now))
  }

  /// Half of what the log of the signal-to-noise ratio grows by between two ᾱ.
  private static func h(_ from: Double, _ to: Double) -> Double {
    func lambda(_ alphaBar: Double) -> Double { 0.5 * PortableMath.log(alphaBar / (1 - alphaBar)) }
    return lambda(to) - lambda(from)
  }

  /// What x̂_0 contributes to a step of first order: α' - α·σ'/σ = -α'(e^{-h} - 1).
  private static func data(_ from: Double, _ to: Double) -> Double {
    to.squareRoot() - ((1 - to) / (1 - from)).squareRoot() * from.squareRoot()
  }
}
