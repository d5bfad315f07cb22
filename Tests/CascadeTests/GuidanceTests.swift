import Diffusion
import Foundation
import Tensors
import Testing
import UNet

@testable import Cascade

/// Classifier-free guidance in a stage's runs.
@Suite struct GuidanceTests {
  let pipeline: Pipeline

  init() throws { pipeline = try Pipeline.load(TinyPipeline.shared.get().directory) }

  private func options(_ stage: Int, _ weight: Double?, steps: Int = 3) throws -> SamplingOptions {
    try SamplingOptions(
      pipeline.manifest, overrides: [StageOverride(stage: pipeline.manifest.stages[stage].name, steps: steps, guidance: weight)])
  }

  private func input(_ stage: Int, _ label: Int) -> [Float]? {
    stage == 0 ? nil : (0..<3 * 8 * 8).map { Float(($0 * 37 + label * 11) % 200) / 100 - 1 }
  }

  /// The bytes of a run are the same alone, beside others with and without guidance, and from a checkpoint.
  @Test(arguments: [0, 1], [DType.f32, .bf16]) func bytesDependOnTheSampleAlone(_ stage: Int, _ dtype: DType) throws {
    let engine = try StageEngine(pipeline, stage: stage, dtype: dtype, threads: 2)
    let weights: [Double?] = [2, nil, 0, 3.5, 2]
    func begin(_ index: Int, _ checkpoint: StageCheckpoint? = nil) throws -> StageRun {
      try engine.begin(
        label: index % 3, seed: 70 + UInt64(index), options: options(stage, weights[index], steps: 2 + index % 2),
        input: input(stage, index), checkpoint: checkpoint)
    }
    var alone: [[Float]] = []
    var halfway: [StageCheckpoint] = []
    for index in weights.indices {
      let run = try begin(index)
      try engine.advance([run])
      halfway.append(run.checkpoint())
      while !run.isFinished { try engine.advance([run]) }
      alone.append(try run.result().values)
    }
    let runs = try weights.indices.reversed().map { ($0, try begin($0)) } + weights.indices.map { ($0, try begin($0, halfway[$0])) }
    while true {
      let rest = runs.map(\.1).filter { !$0.isFinished }
      if rest.isEmpty { break }
      try engine.advance(rest)
    }
    for (index, run) in runs { #expect(try run.result().values == alone[index], "sample \(index)") }
  }

  /// The same by hand: the network called once for the label and once for the null class.
  @Test(arguments: [0, 1]) func itIsTwoCallsOfTheNetwork(_ stage: Int) throws {
    let setting = pipeline.manifest.stages[stage]
    let network = try ServedUNet(setting.network, weights: Safetensors.open(pipeline.weightsPath(stage: stage)), dtype: .f32)
    let engine = try StageEngine(pipeline, stage: stage, dtype: .f32)
    func draw(_ weight: Double) throws -> [Float] {
      let run = try engine.begin(label: 2, seed: 5, options: options(stage, weight), input: input(stage, 2))
      let guidance = try Guidance(weight: weight, threshold: setting.guidance?.threshold)
      let sampler = run.sampler
      var state = run.state
      let side = setting.resolution
      while state.step < sampler.steps {
        func output(_ label: Int?) throws -> [Float] {
          try network(
            x: Tensor(state.x, shape: [1, 3, side, side]), timesteps: Tensor([Float(sampler.timesteps[state.step])], shape: [1]),
            labels: ClassLabels.tensor([label]), lowRes: run.lowRes.map { try Tensor($0, shape: [1, 3, 8, 8]) },
            augLevels: setting.takesAug ? Tensor([Float(run.aug)], shape: [1]) : nil
          ).floats()
        }
        let (conditional, unconditional) = (try output(2), try output(nil))
        let combined = conditional.withUnsafeBufferPointer { conditional in
          unconditional.withUnsafeBufferPointer { guidance.combine(conditional, unconditional: $0, count: state.x.count) }
        }
        combined.withUnsafeBufferPointer { sampler.advance(&state, modelOutput: $0, noise: NoiseSource(seed: 5, stage: UInt8(stage))) }
      }
      while !run.isFinished { try engine.advance([run]) }
      let image = setting.smoothing?(state.x, side: side) ?? state.x
      #expect(try run.result().values == image, "weight \(weight)")
      return image
    }
    #expect(try Set([draw(0), draw(2), draw(4)]).count == 3)
  }

  @Test func aWeightOfOneIsNone() throws {
    let engine = try StageEngine(pipeline, stage: 1, dtype: .f32)
    func draw(_ weight: Double?) throws -> [Float] {
      let request = StageEngine.Request(label: 1, seed: 3, input: input(1, 1))
      return try engine.samples([request], options: options(1, weight), batch: 1)[0]
    }
    #expect(try options(1, 1).stages[1].guidance == nil && options(1, 2).stages[1].guidance == Guidance(weight: 2, threshold: 0.9))
    #expect(try draw(1) == draw(nil) && draw(2) != draw(nil))
  }

  /// Jobs that ask for no weight get the manifest's.
  @Test func theManifestHasTheDefault() throws {
    let copy = try TinyPipeline.shared.get().copy()
    defer { copy.remove() }
    let range = try #require(TinyPipeline.manifest.range(of: "\"weight\": 1, \"threshold\": 0.9"))
    try copy.write(manifest: TinyPipeline.manifest.replacingCharacters(in: range, with: "\"weight\": 1.5"))
    let options = try SamplingOptions(Manifest.load(copy.directory))
    #expect(try options.stages.map(\.guidance) == [nil, Guidance(weight: 1.5), nil])
  }

  @Test func refusesWhatCannotBe() throws {
    #expect { try options(2, 2) } throws: { "\($0)".contains("sr64 cannot be guided") && "\($0)".contains("cascade.json") }
    #expect(try options(2, 1).stages[2].guidance == nil)
    #expect { try options(1, -1) } throws: { "\($0)".contains("stage sr16") && "\($0)".contains("guidance -1") }
  }
}
