import Cascade
import Diffusion
package import Tensors
package import UNet

/// A stage of a pipeline, as training sees it.
package struct StagePlan: Sendable {
  package let setting: StageSetting
  package let network: UNetConfiguration
  /// What the stage is served in.
  package let dtype: DType
  /// Where the pipeline expects the stage's weights; the file need not exist.
  package let weightsPath: String

  /// - Parameters:
  ///   - pipeline: the folder of a `cascade.json`.
  ///   - stage: a stage's name.
  package init(pipeline: String, stage name: String) throws {
    let manifest = try Manifest.load(pipeline)
    let index = try manifest.stage(named: name)
    let stage = manifest.stages[index]
    let below = index > 0 ? manifest.stages[index - 1] : nil
    let lowRes: StageSetting.LowRes =
      switch (stage.conditioning?.augmentation, below) {
      case (.gaussian(let maxLevel, let level), .some(let below)):
        .gaussian(maxLevel: maxLevel, level: level, schedule: try below.schedule.tables())
      case (.blur(let sigma, let probability), _): .blur(sigma: sigma, probability: probability)
      default: .plain
      }
    let schedule = try stage.schedule.tables()
    network = stage.network
    dtype = stage.dtype
    weightsPath = "\(pipeline)/\(stage.weights)"
    setting = StageSetting(
      name: name, labels: manifest.labels, resolution: stage.resolution, lowResolution: below?.resolution, lowRes: lowRes,
      schedule: schedule, prediction: stage.prediction, variance: stage.variance,
      sampler: try Sampler(
        stage.sampler.kind, steps: stage.sampler.steps, spacing: stage.sampler.spacing, schedule: schedule, prediction: stage.prediction,
        variance: stage.variance))
  }
}
