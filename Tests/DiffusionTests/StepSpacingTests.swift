import Diffusion
import Foundation
import Testing

@Suite struct StepSpacingTests {
  @Test func uniformIsGuidedDiffusions() throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    #expect(try StepSpacing.uniform.indices(5, schedule) == [0, 250, 500, 749, 999])
    #expect(try StepSpacing.uniform.indices(1, schedule) == [999])
  }

  /// Every index is the nearest to equation 5's noise level, as long as no two fall together.
  @Test(arguments: ScheduleKind.allCases, [2, 5, 12, 20]) func karrasIsEquationFive(_ kind: ScheduleKind, _ steps: Int) throws {
    let schedule = try Schedule(kind, steps: 1000)
    let sigmas = schedule.alphaBars.map { ((1 - $0) / $0).squareRoot() }
    let (lowest, highest, rho) = (0.06, 80.0, 7.0)
    let expected = (0..<steps).map { i in
      let sigma = pow(pow(highest, 1 / rho) + Double(i) / Double(steps - 1) * (pow(lowest, 1 / rho) - pow(highest, 1 / rho)), rho)
      return sigmas.indices.min { abs(log(sigmas[$0] / sigma)) < abs(log(sigmas[$1] / sigma)) }!
    }
    #expect(try StepSpacing.karras(rho: rho, noise: lowest...highest).indices(steps, schedule) == expected.reversed())
  }

  /// Any number of steps gives that many different ones, also where there are hardly enough levels.
  @Test(arguments: ScheduleKind.allCases) func thereAreAsManyStepsAsAskedFor(_ kind: ScheduleKind) throws {
    for trainSteps in [2, 10, 1000] {
      let schedule = try Schedule(kind, steps: trainSteps)
      for noise in [0.06...80, 1e-6...1e6, 1e3...1e4, 1e-6...1e-5] {
        for steps in [1, 2, 3, trainSteps / 2, trainSteps - 1, trainSteps] where (1...trainSteps).contains(steps) {
          let indices = try StepSpacing.karras(rho: 7, noise: noise).indices(steps, schedule)
          #expect(indices.count == steps && indices.first! >= 0 && indices.last! < trainSteps, "\(noise), \(steps) of \(trainSteps)")
          #expect(zip(indices, indices.dropFirst()).allSatisfy { $0 < $1 }, "\(noise), \(steps) of \(trainSteps): \(indices)")
        }
      }
      for steps in [0, -1, trainSteps + 1] {
        for spacing in [StepSpacing.uniform, .karras(rho: 7, noise: 0.06...80)] {
          #expect(throws: DiffusionError.self) { try spacing.indices(steps, schedule) }
        }
      }
    }
  }

  /// A perfect network's image is found whatever the spacing.
  @Test(arguments: kinds.indices) func everySamplerTakesIt(_ k: Int) throws {
    let (kind, eta, variance) = kinds[k]
    let schedule = try Schedule(.linear, steps: 1000)
    let x0 = (0..<48).map { Float($0) / 48 * 1.8 - 0.9 }
    let model = PerfectModel(schedule: schedule, prediction: .v, variance: variance, x0: x0)
    let sampler = try Sampler(
      kind, steps: 8, spacing: .karras(rho: 7, noise: 0.06...80), eta: eta, schedule: schedule, prediction: .v, variance: variance)
    let noise = NoiseSource(seed: 5, stage: 0)
    var state = sampler.start(noise, count: x0.count)
    run(sampler, &state, noise: noise) { model($0, $1) }
    let error = zip(state.x, x0).map { abs($0 - $1) }.max()!
    #expect(error < 1e-3, "\(kind), eta \(eta), \(variance): off by \(error)")
  }
}
