package import Tensors

/// The reference: one sample at a time, one stage after the other, no broker and no batch. What a fleet delivers equals this byte for byte.
package final class SerialSampler {
  package struct Sample: Sendable {
    /// Of each stage, (3, R, R) in about [-1, 1].
    package let outputs: [NamedArray]
    /// The last stage's.
    package let image: NamedArray
    /// Compute time of each stage.
    package let stageSeconds: [Double]
  }

  package let pipeline: Pipeline
  private let engines: [StageEngine]

  /// Loads every stage.
  ///
  /// - Parameters:
  ///   - dtype: of every stage; `nil`: as the manifest says where that is fast.
  ///   - threads: that share a sample's work; its bytes don't depend on them.
  package init(_ pipeline: Pipeline, device: Device = .cpu, dtype: DType? = nil, threads: Int = 1) throws(CascadeError) {
    self.pipeline = pipeline
    var engines: [StageEngine] = []
    for index in pipeline.manifest.stages.indices {
      engines.append(try StageEngine(pipeline, stage: index, device: device, dtype: dtype, threads: threads))
    }
    self.engines = engines
  }

  /// Of the stage that makes the image.
  package var numerics: String { engines[engines.count - 1].numerics }

  /// - Parameter onStep: told the stage's index, the steps finished and the steps in all, after each step.
  package func sample(
    label: Int, seed: UInt64, options: SamplingOptions, onStep: (Int, Int, Int) -> Void = { _, _, _ in }
  ) throws(CascadeError) -> Sample {
    let clock = ContinuousClock()
    var outputs: [NamedArray] = []
    var seconds: [Double] = []
    for (index, engine) in engines.enumerated() {
      let start = clock.now
      let run = try engine.begin(label: label, seed: seed, options: options, input: outputs.last?.values)
      while !run.isFinished {
        try engine.advance([run])
        onStep(index, run.step, run.steps)
      }
      outputs.append(try run.result())
      seconds.append((clock.now - start) / .seconds(1))
    }
    guard let image = outputs.last else { throw CascadeError(.manifest, "pipeline \(pipeline.manifest.name) has no stages") }
    return Sample(outputs: outputs, image: image, stageSeconds: seconds)
  }
}
