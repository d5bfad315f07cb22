/// How one stage was sampled, as an image's text states it.
package struct StageText: Hashable, Sendable {
  package var stage, sampler: String
  package var steps: Int
  package var eta: Double
  /// Level of conditioning augmentation; 0: none.
  package var aug: Int
  /// Weight of classifier-free guidance; 1: none.
  package var guidance: Double

  package init(stage: String, sampler: String, steps: Int, eta: Double = 0, aug: Int = 0, guidance: Double = 1) {
    self.stage = stage
    self.sampler = sampler
    self.steps = steps
    self.eta = eta
    self.aug = aug
    self.guidance = guidance
  }

  var text: String {
    var parts = ["\(stage): \(sampler)", "\(steps) \(steps == 1 ? "step" : "steps")"]
    if eta != 0 { parts.append("eta \(eta)") }
    if aug != 0 { parts.append("aug \(aug)") }
    if guidance != 1 { parts.append("guidance \(guidance)") }
    return parts.joined(separator: ", ")
  }
}

/// The text chunks of an image: all that decides its bytes. One function, so that every program writes the same PNG for a sample.
///
/// - Parameters:
///   - digest: of the pipeline, hexadecimal.
///   - stages: in order, up to the one that made the image.
///   - numerics: the class of the stage that made the image.
package func imageMetadata(
  label: String, seed: UInt64, pipeline: String, digest: String, stages: [StageText], truncated: Bool, numerics: String
) -> [(key: String, value: String)] {
  [
    ("Software", "Weir"), ("weir:label", label), ("weir:seed", String(seed)), ("weir:pipeline", pipeline), ("weir:digest", digest),
    ("weir:sampler", (stages.map(\.text) + (truncated ? ["truncated"] : [])).joined(separator: "; ")), ("weir:numerics", numerics),
  ]
}
