import Diffusion
import Testing

/// What a network that knows x0 would answer.
struct PerfectModel {
  var schedule: Schedule
  var prediction: Prediction
  var variance: Variance
  var x0: [Float]

  func callAsFunction(_ x: [Float], _ timestep: Int) -> [Float] {
    let alphaBar = schedule.alphaBars[timestep]
    let (a, b) = (alphaBar.squareRoot(), (1 - alphaBar).squareRoot())
    let output = zip(x, x0).map { x, x0 -> Float in
      let noise = (Double(x) - a * Double(x0)) / b
      return switch prediction {
      case .epsilon: Float(noise)
      case .v: Float(a * noise - b * Double(x0))
      case .x0: x0
      }
    }
    return variance == .learnedRange ? output + output.map { $0 * 0.1 } : output
  }
}

/// An arbitrary but smooth "network", so that estimates change from step to step.
struct WarpedModel {
  var outputs: Int

  func callAsFunction(_ x: [Float], _ timestep: Int) -> [Float] {
    var output = x.enumerated().map { i, x in 0.4 * x - 0.3 * x * x * x / (1 + x * x) + Float(i % 7) * 0.02 + Float(timestep) * 1e-4 }
    if outputs > x.count { output += x.map { 0.3 * $0 - 0.1 } }
    return output
  }
}

let kinds: [(SamplerKind, Double, Variance)] = [
  (.ddpm, 0, .fixedSmall), (.ddpm, 0, .fixedLarge), (.ddpm, 0, .learnedRange), (.ddim, 0, .fixedSmall), (.ddim, 0.5, .fixedSmall),
  (.ddim, 1, .learnedRange), (.dpmSolver2M, 0, .fixedSmall), (.dpmSolver2M, 0, .learnedRange), (.uniPC, 0, .fixedSmall),
  (.uniPC, 0, .learnedRange),
]

func run(_ sampler: Sampler, _ state: inout SamplerState, noise: NoiseSource, model: ([Float], Int) -> [Float]) {
  while state.step < sampler.steps {
    let output = model(state.x, sampler.timesteps[state.step])
    output.withUnsafeBufferPointer { sampler.advance(&state, modelOutput: $0, noise: noise) }
  }
}

@Suite struct SamplerTests {
  static let count = 48
  let noise = NoiseSource(seed: 99, stage: 1)

  @Test(arguments: kinds.indices, Prediction.allCases) func perfectModelRecoversTheImage(_ k: Int, _ prediction: Prediction) throws {
    let (kind, eta, variance) = kinds[k]
    for scheduleKind in ScheduleKind.allCases {
      let schedule = try Schedule(scheduleKind, steps: 1000)
      let x0 = (0..<Self.count).map { Float($0) / Float(Self.count) * 1.8 - 0.9 }
      let model = PerfectModel(schedule: schedule, prediction: prediction, variance: variance, x0: x0)
      for steps in [1, 2, 5, 12, 250] {
        let sampler = try Sampler(kind, steps: steps, eta: eta, schedule: schedule, prediction: prediction, variance: variance)
        #expect(sampler.steps == steps)
        var state = sampler.start(noise, count: Self.count)
        run(sampler, &state, noise: noise, model: { model($0, $1) })
        // ε-prediction divides by √ᾱ, so a single step from T-1 sees only the rounding of x.
        if prediction == .epsilon && steps == 1 { continue }
        #expect(zip(state.x, x0).allSatisfy { abs($0 - $1) < 2e-3 }, "\(kind) \(eta) \(variance) \(scheduleKind) \(steps)")
      }
    }
  }

  @Test(arguments: kinds.indices) func saveAndRestoreAtEveryStep(_ k: Int) throws {
    let (kind, eta, variance) = kinds[k]
    let schedule = try Schedule(.cosine, steps: 100)
    for (steps, until) in [(7, 0), (12, 0), (12, 30), (100, 0)] {
      let sampler = try Sampler(kind, steps: steps, eta: eta, schedule: schedule, prediction: .v, variance: variance, until: until)
      let model = WarpedModel(outputs: sampler.outputCount(for: Self.count))
      var states = [sampler.start(noise, count: Self.count)]
      while let last = states.last, last.step < sampler.steps {
        var next = last
        model(next.x, sampler.timesteps[next.step]).withUnsafeBufferPointer { sampler.advance(&next, modelOutput: $0, noise: noise) }
        states.append(next)
      }
      for state in states {
        var restored = try SamplerState(step: state.step, arrays: state.arrays, sampler: sampler, count: Self.count)
        run(sampler, &restored, noise: noise, model: { model($0, $1) })
        #expect(restored.x.map(\.bitPattern) == states.last?.x.map(\.bitPattern), "\(kind) \(steps) from \(state.step)")
      }
    }
  }

  @Test func refusesForeignStates() throws {
    let schedule = try Schedule(.cosine, steps: 100)
    let sampler = try Sampler(.dpmSolver2M, steps: 10, schedule: schedule, prediction: .v)
    let good = [Float](repeating: 0, count: 12)
    #expect(throws: Never.self) { try SamplerState(step: 4, arrays: ["x": good, "history": good], sampler: sampler, count: 12) }
    for (step, arrays) in [
      (-1, ["x": good]), (11, ["x": good]), (4, ["x": good]), (0, ["x": good, "history": good]), (10, ["x": good, "history": good]),
      (0, ["x": good + [1]]), (0, ["x": [.nan] + good.dropLast()]), (0, ["y": good]), (0, [:]),
      (4, ["x": good, "history": [.infinity] + good.dropLast()]),
    ] {
      #expect(throws: DiffusionError.self, "\(step) \(arrays.keys)") {
        try SamplerState(step: step, arrays: arrays, sampler: sampler, count: 12)
      }
    }
    let corrected = try Sampler(.uniPC, steps: 10, schedule: schedule, prediction: .v)
    #expect(throws: Never.self) {
      try SamplerState(step: 4, arrays: ["x": good, "history": good, "history2": good], sampler: corrected, count: 12)
    }
    #expect { try SamplerState(step: 4, arrays: ["x": good, "history": good], sampler: corrected, count: 12) } throws: {
      "\($0)".contains("history2")
    }
  }

  @Test func refusesOptions() throws {
    let schedule = try Schedule(.cosine, steps: 100)
    for steps in [Int.min, -1, 0, 101, .max] {
      #expect(throws: DiffusionError.self) { try Sampler(.ddpm, steps: steps, schedule: schedule, prediction: .v) }
    }
    for eta in [-0.1, 1.1, .nan, .infinity] {
      #expect(throws: DiffusionError.self) { try Sampler(.ddim, steps: 5, eta: eta, schedule: schedule, prediction: .v) }
    }
    for s in [-1, 100, .max] {
      #expect(throws: DiffusionError.self) { try Sampler(.ddim, steps: 5, schedule: schedule, prediction: .v, until: s) }
    }
    for indices in [[], [3, 3], [5, 2], [-1, 4], [50, 100]] {
      #expect(throws: DiffusionError.self) { try Sampler(.ddim, indices: indices, schedule: schedule, prediction: .v) }
    }
  }

  /// guided-diffusion's loops, written out in float64.
  @Test(arguments: [Prediction.epsilon, .v]) func equalsTheReferenceLoops(_ prediction: Prediction) throws {
    let schedule = try Schedule(.linear, steps: 50)
    let model = WarpedModel(outputs: 2 * Self.count)
    func x0(_ x: Double, _ out: Double, _ i: Int) -> Double {
      let abar = schedule.alphaBars[i]
      let raw =
        prediction == .epsilon
        ? (1 / abar).squareRoot() * x - (1 / abar - 1).squareRoot() * out : abar.squareRoot() * x - (1 - abar).squareRoot() * out
      return min(max(raw, -1), 1)
    }
    for (kind, eta, variance) in kinds where kind == .ddpm || kind == .ddim {
      var x = noise.field(.initial, timestep: 50, count: Self.count).map(Double.init)
      for i in stride(from: 49, through: 0, by: -1) {
        let out = model(x.map { Float($0) }, i).map(Double.init)
        let z = i == 0 ? [Double](repeating: 0, count: Self.count) : noise.field(.step, timestep: i, count: Self.count).map(Double.init)
        let abar = schedule.alphaBars[i]
        let before = schedule.alphaBarBefore(i)
        for e in x.indices {
          let estimate = x0(x[e], out[e], i)
          if kind == .ddim {
            let epsilon = ((1 / abar).squareRoot() * x[e] - estimate) / (1 / abar - 1).squareRoot()
            let sigma = eta * ((1 - before) / (1 - abar)).squareRoot() * (1 - abar / before).squareRoot()
            x[e] = before.squareRoot() * estimate + (1 - before - sigma * sigma).squareRoot() * epsilon + sigma * z[e]
          } else {
            let (c1, c2) = schedule.posteriorMeanCoefficients(i)
            let low = schedule.posteriorLogVarianceClipped(i)
            let high = PortableMath.log(schedule.betas[i])
            let fraction = (out[Self.count + e] + 1) / 2
            let logVariance =
              switch variance {
              case .fixedSmall: low
              case .fixedLarge: high
              case .learnedRange: fraction * high + (1 - fraction) * low
              }
            x[e] = c1 * estimate + c2 * x[e] + PortableMath.exp(0.5 * logVariance) * z[e]
          }
        }
      }
      let sampler = try Sampler(kind, steps: 50, eta: eta, schedule: schedule, prediction: prediction, variance: variance)
      var state = sampler.start(noise, count: Self.count)
      run(sampler, &state, noise: noise) { Array(model($0, $1).prefix(sampler.outputCount(for: Self.count))) }
      #expect(zip(state.x, x).allSatisfy { abs(Double($0) - $1) < 1e-4 }, "\(kind) \(eta) \(variance)")
    }
  }

  /// With eta = 1 and fixed small variance DDIM is ancestral sampling.
  @Test func ddimOneIsAncestral() throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    let model = WarpedModel(outputs: Self.count)
    var results: [[Float]] = []
    for kind in [SamplerKind.ddim, .ddpm] {
      let sampler = try Sampler(kind, steps: 20, eta: 1, schedule: schedule, prediction: .v)
      var state = sampler.start(noise, count: Self.count)
      run(sampler, &state, noise: noise, model: { model($0, $1) })
      results.append(state.x)
    }
    #expect(zip(results[0], results[1]).allSatisfy { abs($0 - $1) < 1e-4 })
  }

  /// DPM-Solver++'s formulas, written out in float64 with exponentials.
  @Test(arguments: [2, 6, 9, 10, 25]) func equalsDPMSolver(_ steps: Int) throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    let nodes = try Array(Respacing.indices("\(steps)", trainSteps: 1000).reversed())
    let model = WarpedModel(outputs: Self.count)
    var x = noise.field(.initial, timestep: 1000, count: Self.count).map(Double.init)
    var x1 = x
    var previous: [Double]?
    func level(_ i: Int) -> (alpha: Double, sigma: Double, lambda: Double) {
      let (a, s) = (schedule.alphaBars[i].squareRoot(), (1 - schedule.alphaBars[i]).squareRoot())
      return (a, s, PortableMath.log(a / s))
    }
    for (k, i) in nodes.enumerated() {
      let now = level(i)
      func estimate(_ x: [Double]) -> [Double] {
        zip(x, model(x.map { Float($0) }, i)).map { min(max(now.alpha * $0 - now.sigma * Double($1), -1), 1) }
      }
      let m0 = estimate(x)
      let n0 = estimate(x1)
      guard k + 1 < nodes.count else {
        (x, x1) = (m0, n0)
        break
      }
      let next = level(nodes[k + 1])
      let h = next.lambda - now.lambda
      let phi = PortableMath.exp(-h) - 1
      let r = k > 0 ? (now.lambda - level(nodes[k - 1]).lambda) / h : 1
      for e in x.indices {
        let d = previous.map { (m0[e] - $0[e]) / r } ?? 0
        x[e] = next.sigma / now.sigma * x[e] - next.alpha * phi * (m0[e] + d / 2)
        x1[e] = next.sigma / now.sigma * x1[e] - next.alpha * phi * n0[e]
      }
      previous = m0
    }
    let second = try Sampler(.dpmSolver2M, steps: steps, schedule: schedule, prediction: .v)
    var state = second.start(noise, count: Self.count)
    run(second, &state, noise: noise, model: { model($0, $1) })
    #expect(zip(state.x, x).allSatisfy { abs(Double($0) - $1) < 2e-5 })
    // The first-order solver is DDIM.
    let ddim = try Sampler(.ddim, steps: steps, schedule: schedule, prediction: .v)
    state = ddim.start(noise, count: Self.count)
    run(ddim, &state, noise: noise, model: { model($0, $1) })
    #expect(zip(state.x, x1).allSatisfy { abs(Double($0) - $1) < 2e-5 })
  }

  @Test func lastStepsOfTruncatedRunsAreOfFirstOrderWhenFew() throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    // With two visited steps the second would be of second order if it were not the last of fewer than ten.
    let few = try Sampler(.dpmSolver2M, indices: [600, 999], schedule: schedule, prediction: .v, until: 500)
    #expect(few.historyLength(after: 1) == 0)
    let many = try Sampler(.dpmSolver2M, steps: 40, schedule: schedule, prediction: .v, until: 500)
    #expect(many.steps == 20 && many.historyLength(after: 19) == 1)
  }

  /// A truncated chain up to s with a perfect model has the marginal of z_s: mean √ᾱ_s·x0, variance 1-ᾱ_s.
  @Test(arguments: SamplerKind.allCases) func truncatedRunsHaveTheMarginal(_ kind: SamplerKind) throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    let n = 10_000
    let x0 = [Float](repeating: 0.5, count: n)
    let model = PerfectModel(schedule: schedule, prediction: .v, variance: .fixedSmall, x0: x0)
    for s in [1, 301, 750] {
      let sampler = try Sampler(kind, steps: 25, eta: 0.3, schedule: schedule, prediction: .v, until: s)
      #expect(sampler.timesteps.allSatisfy { $0 >= s })
      var state = sampler.start(noise, count: n)
      run(sampler, &state, noise: noise, model: { model($0, $1) })
      let values = state.x.map(Double.init)
      let mean = values.reduce(0, +) / Double(n)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
      let alphaBar = schedule.alphaBars[s - 1]
      #expect(abs(mean - alphaBar.squareRoot() * 0.5) < 0.03, "\(kind) \(s)")
      #expect(abs(variance / (1 - alphaBar) - 1) < 0.06, "\(kind) \(s)")
    }
  }

  /// Where s-1 is a visited step, the truncated run is a prefix of the whole one.
  @Test func truncatedRunsSharePrefix() throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    for (kind, eta, variance) in kinds where kind == .ddpm || kind == .ddim {
      let whole = try Sampler(kind, steps: 25, eta: eta, schedule: schedule, prediction: .v, variance: variance)
      let part = try Sampler(kind, steps: 25, eta: eta, schedule: schedule, prediction: .v, variance: variance, until: 501)
      let model = WarpedModel(outputs: whole.outputCount(for: Self.count))
      try #require(whole.timesteps.contains(500))
      var (a, b) = (whole.start(noise, count: Self.count), part.start(noise, count: Self.count))
      run(part, &b, noise: noise, model: { model($0, $1) })
      while whole.timesteps[a.step] > 500 {
        model(a.x, whole.timesteps[a.step]).withUnsafeBufferPointer { whole.advance(&a, modelOutput: $0, noise: noise) }
      }
      #expect(a.step == part.steps && a.x == b.x)
    }
  }

  /// An image noised for the steps that are left has the marginal of their first point, and with a perfect model they lead back to it.
  @Test(arguments: kinds.indices) func imagesNoisedForTheStepsThatAreLeft(_ k: Int) throws {
    let (kind, eta, variance) = kinds[k]
    let schedule = try Schedule(.cosine, steps: 1000)
    let n = 10_000
    let image = [Float](repeating: 0.5, count: n)
    let model = PerfectModel(schedule: schedule, prediction: .v, variance: variance, x0: image)
    let sampler = try Sampler(kind, steps: 8, spacing: .uniform, eta: eta, schedule: schedule, prediction: .v, variance: variance)
    for left in 1...8 {
      guard sampler.historyLength(after: 8 - left) == 0 else {
        #expect(throws: DiffusionError.self) { try sampler.start(noise, from: image, left: left) }
        continue
      }
      var state = try sampler.start(noise, from: image, left: left)
      let alphaBar = schedule.alphaBars[sampler.timesteps[8 - left]]
      let values = state.x.map(Double.init)
      let mean = values.reduce(0, +) / Double(n)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
      #expect(state.step == 8 - left)
      // Six standard deviations: 0.06 of a mean of 10,000, 0.085 of their variance.
      #expect(abs(mean - alphaBar.squareRoot() * 0.5) < 0.06 * (1 - alphaBar).squareRoot(), "\(kind), \(left) left: \(mean)")
      #expect(abs(variance / (1 - alphaBar) - 1) < 0.085, "\(kind), \(left) left: \(variance)")
      run(sampler, &state, noise: noise, model: { model($0, $1) })
      #expect(zip(state.x, image).allSatisfy { abs($0 - $1) < 2e-3 }, "\(kind), \(left) left")
    }
    for left in [Int.min, -1, 0, 9, .max] {
      #expect(throws: DiffusionError.self) { try sampler.start(noise, from: image, left: left) }
    }
  }

  @Test func nansAreNotClippedAway() throws {
    let sampler = try Sampler(.ddim, steps: 1, schedule: Schedule(.cosine, steps: 10), prediction: .v)
    var state = sampler.start(noise, count: 4)
    [Float.nan, 0, 100, -100].withUnsafeBufferPointer { sampler.advance(&state, modelOutput: $0, noise: noise) }
    #expect(state.x[0].isNaN && state.x[2] == -1 && state.x[3] == 1)
  }

  @Test func zeroNetworkPutsTheVarianceMidway() throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    let sampler = try Sampler(.ddpm, steps: 1000, schedule: schedule, prediction: .epsilon, variance: .learnedRange, clip: false)
    var state = SamplerState(x: [Float](repeating: 0, count: 4), step: 499)
    [Float](repeating: 0, count: 8).withUnsafeBufferPointer { sampler.advance(&state, modelOutput: $0, noise: noise) }
    let midway = PortableMath.exp(
      0.25 * (schedule.posteriorLogVarianceClipped(500) + PortableMath.log(schedule.betas[500])))
    let drawn = noise.field(.step, timestep: 500, count: 4)
    #expect(zip(state.x, drawn).allSatisfy { abs(Double($0) - midway * Double($1)) < 1e-7 })
  }
}
