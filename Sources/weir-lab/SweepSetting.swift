import Cascade
import Foundation

/// How a sweep draws its samples.
struct SweepSetting: Hashable, Codable {
  let stage, sampler: String
  let steps, aug: Int
  /// `nil`: the first stage.
  let inputs: Sweep.Inputs?

  /// A file's name.
  var name: String { curveOverSteps.replacingOccurrences(of: " ", with: "-") + "-\(steps)" }

  /// What the points of a line have in common: all but the steps, or all but s.
  var curveOverSteps: String { curveOverAug + (aug > 0 ? " s \(aug)" : "") }
  var curveOverAug: String { sampler + (inputs.map { " \($0.rawValue) inputs" } ?? "") }

  func options(_ manifest: Manifest) throws(CascadeError) -> SamplingOptions {
    let takesAug = manifest.stages.first { $0.name == stage }?.takesAug ?? false
    return try SamplingOptions(
      manifest, overrides: [StageOverride(stage: stage, steps: steps, sampler: sampler, aug: takesAug || aug > 0 ? aug : nil)])
  }
}
