import Diffusion
import Foundation
import Testing

@Suite struct UniPCTests {
  private let noise = NoiseSource(seed: 99, stage: 1)

  /// Data that is normal with mean μ and deviation c has E[x_0 | x_t] and the whole way in closed form, on which a solver's errors can be seen:
  /// (x_t - α_t·μ) / √(α_t²c² + σ_t²) stays what it is.
  private struct Gaussian {
    let mean = 0.3
    let variance = 0.25

    func estimate(_ x: Double, _ alphaBar: Double) -> Double {
      (alphaBar.squareRoot() * variance * x + (1 - alphaBar) * mean) / (alphaBar * variance + 1 - alphaBar)
    }

    func end(of x: Double, from start: Double, to end: Double) -> Double {
      let scale = (end * variance + 1 - end) / (start * variance + 1 - start)
      return end.squareRoot() * mean + (x - start.squareRoot() * mean) * scale.squareRoot()
    }
  }

  /// Halving the steps divides the error by two to the order: the corrector makes the predictor's second order a third.
  @Test(arguments: [(SamplerKind.ddim, 1.96), (.dpmSolver2M, 3.79), (.uniPC, 7.84)])
  func theOrderIsAsItShouldBe(_ kind: SamplerKind, _ ratio: Double) throws {
    let schedule = try Schedule(.linear, steps: 100_000)
    let data = Gaussian()
    /// Half of the log of the signal-to-noise ratio falls with the index.
    func index(_ wanted: Double) -> Int {
      var (low, high) = (0, schedule.steps - 1)
      while low < high {
        let middle = (low + high) / 2
        let alphaBar = schedule.alphaBars[middle]
        if 0.5 * log(alphaBar / (1 - alphaBar)) > wanted { low = middle + 1 } else { high = middle }
      }
      return low
    }
    func error(_ steps: Int) throws -> Double {
      let points = (0...steps).map { index(3 - 6 * Double($0) / Double(steps)) }
      let sampler = try Sampler(
        kind, indices: Array(points.dropFirst()), schedule: schedule, prediction: .x0, until: points[0] + 1, clip: false)
      var state = SamplerState(x: [1.1])
      run(sampler, &state, noise: noise) { x, t in x.map { Float(data.estimate(Double($0), schedule.alphaBars[t])) } }
      let (start, end) = (schedule.alphaBars[points[steps]], schedule.alphaBars[points[0]])
      return abs(Double(state.x[0]) - data.end(of: Double(Float(1.1)), from: start, to: end))
    }
    let found = try error(20) / error(40)
    #expect(abs(found / ratio - 1) < 0.05, "\(kind): \(found)")
  }

  /// `ops/reference/make_unipc_goldens.py` makes the answers.
  @Test(arguments: [
    (4, [0.5976059844867112, 0.2850317025123142, 0.4506218265278158, 0.6991697353836884]),
    (8, [0.32915062642656406, 0.16457942328212777, 0.25353843085999783, 0.4223286499569598]),
    (20, [0.21481059470189245, 0.13818862352255976, 0.18736575732711735, 0.24054241943883672]),
  ])
  func equalsDiffusers(_ steps: Int, _ expected: [Double]) throws {
    let sampler = try Sampler(.uniPC, steps: steps, schedule: Schedule(.cosine, steps: 1000), prediction: .x0)
    var state = SamplerState(x: [1, -0.5, 0.25, 2])
    run(sampler, &state, noise: noise) { x, t in x.map { Float(0.7 * sin(Double($0) + 0.002 * Double(t))) } }
    #expect(zip(state.x, expected).allSatisfy { abs(Double($0) - $1) < 1e-5 }, "\(state.x)")
  }

  /// The published algorithm, step by step in float64: the corrected sample of the step before is kept, and corrected anew from there.
  @Test(arguments: [2, 3, 6, 10, 25], [0, 300]) func equalsTheAlgorithm(_ steps: Int, _ until: Int) throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    let sampler = try Sampler(.uniPC, steps: steps, schedule: schedule, prediction: .v, until: until)
    let model = WarpedModel(outputs: 48)
    func level(_ alphaBar: Double) -> (alpha: Double, sigma: Double, lambda: Double) {
      (alphaBar.squareRoot(), (1 - alphaBar).squareRoot(), 0.5 * log(alphaBar / (1 - alphaBar)))
    }
    let levels = (sampler.timesteps.map { schedule.alphaBars[$0] } + (until > 0 ? [schedule.alphaBars[until - 1]] : [])).map(level)
    var x = noise.field(.initial, timestep: 1000, count: 48).map(Double.init)
    var corrected: [Double] = []
    var estimates: [[Double]] = []
    var order = 0
    for (k, timestep) in sampler.timesteps.enumerated() {
      let now = levels[k]
      let m = zip(x, model(x.map { Float($0) }, timestep)).map { min(max(now.alpha * $0 - now.sigma * Double($1), -1), 1) }
      if k > 0 {
        let before = levels[k - 1]
        let h = now.lambda - before.lambda
        let b = exp(-h) - 1
        let ratio = order == 2 ? (levels[k - 2].lambda - before.lambda) / h : 0
        let b1 = (b / -h - 1) / b
        let b2 = ((b / -h - 1) / -h - 0.5) * 2 / b
        let rho = order == 2 ? [(b1 - b2) / (1 - ratio), b1 - (b1 - b2) / (1 - ratio)] : [0, 0.5]
        for e in x.indices {
          let last = estimates[k - 1][e]
          let d = order == 2 ? (estimates[k - 2][e] - last) / ratio : 0
          x[e] = now.sigma / before.sigma * corrected[e] - now.alpha * b * last - now.alpha * b * (rho[0] * d + rho[1] * (m[e] - last))
        }
      }
      (corrected, estimates) = (x, estimates + [m])
      guard k + 1 < levels.count else {
        x = m
        break
      }
      let next = levels[k + 1]
      let h = next.lambda - now.lambda
      let b = exp(-h) - 1
      order = k == 0 || k == sampler.steps - 1 && sampler.steps < 10 ? 1 : 2
      for e in x.indices {
        let d = order == 2 ? (estimates[k - 1][e] - m[e]) / ((levels[k - 1].lambda - now.lambda) / h) : 0
        x[e] = next.sigma / now.sigma * x[e] - next.alpha * b * m[e] - next.alpha * b * 0.5 * d
      }
    }
    var state = sampler.start(noise, count: 48)
    run(sampler, &state, noise: noise) { model($0, $1) }
    #expect(zip(state.x, x).allSatisfy { abs(Double($0) - $1) < 2e-5 }, "\(steps) steps until \(until)")
  }
}
