import Testing

@testable import Diffusion

@Suite struct GuidanceTests {
  private func combine(_ guidance: Guidance, _ conditional: [Float], _ unconditional: [Float], count: Int) -> [Float] {
    conditional.withUnsafeBufferPointer { conditional in
      unconditional.withUnsafeBufferPointer { guidance.combine(conditional, unconditional: $0, count: count) }
    }
  }

  /// ε_u + w(ε_c - ε_u), whatever the network predicts.
  @Test(arguments: Prediction.allCases, [0, 0.5, 1, 3]) func itIsThatOfTheNoise(_ prediction: Prediction, _ weight: Double) throws {
    let guidance = try Guidance(weight: weight)
    let alphaBar = 0.3
    let (a, b) = (alphaBar.squareRoot(), (1 - alphaBar).squareRoot())
    for (x, conditional, unconditional) in [(0.4, 0.9, -0.3), (-1.2, -0.5, 0.25)] {
      func output(_ noise: Double) -> Float {
        let x0 = (x - b * noise) / a
        return switch prediction {
        case .epsilon: Float(noise)
        case .v: Float(a * noise - b * x0)
        case .x0: Float(x0)
        }
      }
      // The last number is a learned variance's.
      let found = combine(guidance, [output(conditional), 7], [output(unconditional), 9], count: 1)
      let expected = output(unconditional + weight * (conditional - unconditional))
      #expect(abs(found[0] - expected) < 1e-5 && found[1] == 7, "\(prediction) \(weight)")
    }
  }

  /// torch.quantile of the magnitudes 0.5, 1, 2 and 4 at ½ is 1.5, at 0.9 it is 3.4.
  @Test func estimatesAreScaledByAPartOfThem() throws {
    for (part, limit) in [(0.5, Float(1.5)), (0.9, 3.4), (1, 4)] {
      let sampler = try Sampler(.ddim, steps: 1, schedule: Schedule(.cosine, steps: 10), prediction: .x0, threshold: part)
      var state = SamplerState(x: [0, 0, 0, 0])
      let output: [Float] = [4, -2, 1, -0.5]
      output.withUnsafeBufferPointer { sampler.advance(&state, modelOutput: $0, noise: NoiseSource(seed: 1, stage: 0)) }
      let expected = output.map { min(max($0, -limit), limit) / limit }
      #expect(zip(state.x, expected).allSatisfy { abs($0 - $1) < 1e-6 }, "\(part): \(state.x)")
    }
    // What lies in [-1, 1] stays, and what is not a number is seen.
    var small: [Float] = [0.5, -0.9, .nan]
    Guidance.threshold(&small, part: 0.5)
    #expect(small[0] == 0.5 && small[1] == -0.9 && small[2].isNaN)
  }

  @Test func refusesWhatMakesNoSense() {
    for weight in [-0.1, 100.5, .nan, .infinity] {
      #expect(throws: DiffusionError.self, "\(weight)") { try Guidance(weight: weight) }
    }
    for threshold in [0, -1, 1.01, .nan] {
      #expect(throws: DiffusionError.self, "\(threshold)") { try Guidance(weight: 2, threshold: threshold) }
    }
  }
}
