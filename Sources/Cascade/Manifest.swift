package import Diffusion
package import Tensors
package import UNet

/// `cascade.json`: what a pipeline consists of.
package struct Manifest: Hashable, Sendable {
  /// Letters, digits, `.`, `_` and `-`.
  package let name: String
  /// Class labels in the order of the networks' label tables.
  package let labels: [String]
  /// Base stage first; each one's output is the next one's low-resolution input.
  package let stages: [Stage]

  package struct Stage: Hashable, Sendable {
    package let name: String
    /// Side of the output, in pixels.
    package let resolution: Int
    /// Name of the `.safetensors` file beside the manifest.
    package let weights: String
    package let network: UNetConfiguration
    package let schedule: Schedule
    package let prediction: Prediction
    package let variance: Variance
    /// Of a super-resolution stage; `nil` for the base stage.
    package let conditioning: Conditioning?
    /// What a job that names none gets.
    package let sampler: DefaultSampler
    /// Of a network that was trained with labels left out, so that it knows the null class: what a job that asks for no weight gets. `nil`: the
    /// stage cannot be guided.
    package let guidance: Guidance?
    /// Of the finished image. `nil`: it is what the sampler gives.
    package let smoothing: Smoothing?
    /// What the network is computed in where the device multiplies it natively: f32 or bf16; see `NumericsClass.dtype`.
    package let dtype: DType

    /// Whether the network is told the level of its input's augmentation.
    package var takesAug: Bool { maxAug > 0 }

    /// The highest level that the network was trained with; 0: it takes none.
    package var maxAug: Int { if case .gaussian(let highest, _) = conditioning?.augmentation { highest } else { 0 } }

    package var defaultAug: Int { if case .gaussian(_, let level) = conditioning?.augmentation { level } else { 0 } }
  }

  package struct Schedule: Hashable, Sendable {
    package let kind: ScheduleKind
    /// T.
    package let steps: Int
  }

  /// How a super-resolution stage's low-resolution input is treated. It is enlarged bilinearly, with half-pixel centres.
  package struct Conditioning: Hashable, Sendable {
    /// `nil`: none was trained with.
    package let augmentation: Augmentation?
  }

  package enum Augmentation: Hashable, Sendable {
    /// Noise of level s on the schedule of the stage below, in training 0…`maxLevel`; sampling uses `defaultLevel` unless told otherwise.
    case gaussian(maxLevel: Int, defaultLevel: Int)
    /// A 3×3 blur with a σ (pixels of the low-resolution image) out of a range for a part of the training examples; none in sampling.
    case blur(sigma: ClosedRange<Double>, probability: Double)
  }

  package struct DefaultSampler: Hashable, Sendable {
    package let kind: SamplerKind
    package let steps: Int
    /// Of a job's own sampler and number of steps, too.
    package let spacing: StepSpacing
  }

  package static let fileName = "cascade.json"

  /// Index of a stage by its name.
  package func stage(named name: String) throws(CascadeError) -> Int {
    guard let index = stages.firstIndex(where: { $0.name == name }) else {
      throw CascadeError(
        .options, "pipeline \(self.name) has no stage \"\(name)\"; its stages are \(stages.map(\.name).joined(separator: ", "))")
    }
    return index
  }

  /// Index of a label by its name or its number.
  package func label(_ text: String) throws(CascadeError) -> Int {
    if let index = labels.firstIndex(of: text) { return index }
    if let number = Int(text), labels.indices.contains(number) { return number }
    let shown = labels.prefix(40).joined(separator: ", ") + (labels.count > 40 ? ", …" : "")
    throw CascadeError(.options, "pipeline \(name) has no label \"\(text)\"; labels are \(shown), or 0 to \(labels.count - 1)")
  }
}
