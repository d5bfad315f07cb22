import Diffusion
import Testing

@testable import Training

@Suite struct RecipeTests {
  @Test func learningRateRisesStaysAndFalls() {
    var recipe = Recipe(batch: 1)
    #expect(abs(recipe.learningRate(step: 0, progress: 0) - 4e-4 / 200) < 1e-12)
    #expect(recipe.learningRate(step: 199, progress: 0.5) == 4e-4)
    #expect(recipe.learningRate(step: 10_000, progress: 1) == 4e-4)
    recipe.decay = true
    #expect(abs(recipe.learningRate(step: 10_000, progress: 1) - 2e-5) < 1e-12)
    #expect(abs(recipe.learningRate(step: 10_000, progress: 0.5) - (2e-5 + 4e-4) / 2) < 1e-12)
    #expect(recipe.learningRate(step: 10_000, progress: 7) == recipe.learningRate(step: 10_000, progress: 1))
    recipe.warmup = 0
    #expect(recipe.learningRate(step: 0, progress: 0) == 4e-4)
  }

  @Test func youngAveragesForgetFast() {
    let recipe = Recipe(batch: 1)
    #expect(recipe.averaging(updates: 1) == 2.0 / 11)
    #expect(recipe.averaging(updates: 90) == 0.91)
    #expect(recipe.averaging(updates: 1_000_000) == 0.9995)
  }

  @Test func badNumbersAreNamed() throws {
    let schedule = try Schedule(.cosine, steps: 100)
    var noised = try tinySuperResolution(lowRes: .gaussian(maxLevel: 60, level: 10, schedule: schedule))
    noised.resolution = 256
    var plain = noised
    plain.lowRes = .plain
    func message(of setting: StageSetting, _ change: (inout Recipe) -> Void) -> String? {
      var recipe = Recipe(batch: 16)
      change(&recipe)
      do {
        try recipe.validate(setting, networkFactor: 8)
        return nil
      } catch { return error.message }
    }
    func message(_ change: (inout Recipe) -> Void) -> String? { message(of: noised, change) }
    #expect(message { _ in } == nil)
    #expect(message { $0.crop = 64 } == nil)
    #expect(message { $0.batch = 0 }?.contains("--batch 0") == true)
    #expect(message { $0.accumulate = 0 }?.contains("--accumulate 0") == true)
    #expect(message { $0.learningRate = .nan }?.contains("--lr") == true)
    #expect(message { $0.warmup = -1 }?.contains("--warmup") == true)
    #expect(message { $0.averaging = 1 }?.contains("--ema") == true)
    #expect(message { $0.labelDrop = -0.1 }?.contains("--label-drop -0.1") == true)
    #expect(message { $0.labelDrop = .nan }?.contains("--label-drop") == true)
    #expect(message { $0.maxLevel = 60 } == nil && message { $0.maxLevel = 0 } == nil)
    #expect(message { $0.maxLevel = 61 }?.contains("--max-level 61") == true)
    #expect(message { $0.maxLevel = -1 }?.contains("--max-level -1") == true)
    #expect(message(of: plain) { $0.maxLevel = 0 }?.contains("not noised") == true)
    #expect(message { $0.crop = 60 }?.contains("multiple of 8") == true)
    #expect(message { $0.crop = 512 }?.contains("--crop 512") == true)
  }
}
