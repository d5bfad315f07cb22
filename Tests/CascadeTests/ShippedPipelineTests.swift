import Cascade
import Foundation
import Tensors
import Testing

/// The networks of `ops/pipelines/avatars`: their sizes meet operations that round otherwise in another batch or on another number of threads.
@Suite struct ShippedPipelineTests {
  let pipeline: Pipeline

  init() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    pipeline = try Pipeline.load(root.appending(path: "ops/pipelines/avatars").path)
  }

  @Test(arguments: [0, 1, 2]) func bytesDependOnTheSampleAlone(_ stage: Int) throws {
    let options = try SamplingOptions(
      pipeline.manifest, overrides: pipeline.manifest.stages.map { StageOverride(stage: $0.name, steps: 2, sampler: "dpm++2m", eta: 0) })
    func run(_ engine: StageEngine, _ samples: [Int]) throws -> [[Float]] {
      let runs = try samples.map { sample in
        var input: [Float]?
        if stage > 0 {
          let side = pipeline.manifest.stages[stage - 1].resolution
          input = (0..<3 * side * side).map { Float(($0 &* 37 &+ sample &* 11) % 200) / 100 - 1 }
        }
        return try engine.begin(label: sample * 5 % 12, seed: UInt64(sample), options: options, input: input)
      }
      while runs.contains(where: { !$0.isFinished }) { try engine.advance(runs) }
      return try runs.map { try $0.result().values }
    }
    let engine = try StageEngine(pipeline, stage: stage)
    let alone = try (0..<3).map { try run(engine, [$0])[0] }
    #expect(Set(alone).count == 3)
    #expect(try run(engine, [2, 0, 1]) == [alone[2], alone[0], alone[1]])
    #expect(try run(StageEngine(pipeline, stage: stage, threads: 2), [1, 2, 0]) == [alone[1], alone[2], alone[0]])
  }

  /// Whatever a network computes in, its images look the same: of fewer steps than the pipeline's, each with more to do.
  @Test func bf16MakesTheSameImages() throws {
    let stages = pipeline.manifest.stages
    let options = try SamplingOptions(pipeline.manifest, overrides: stages.map { StageOverride(stage: $0.name, steps: 2) })
    let label = 7
    var input: [Float]?
    for stage in stages.indices {
      func image(_ dtype: DType) throws -> [Float] {
        let engine = try StageEngine(pipeline, stage: stage, dtype: dtype, threads: 2)
        let run = try engine.begin(label: label, seed: 7, options: options, input: input)
        while !run.isFinished { try engine.advance([run]) }
        return try run.result().values
      }
      let (exact, rounded) = (try image(.f32), try image(.bf16))
      #expect(exact != rounded, "bf16 was not used")
      let error = zip(exact, rounded).reduce(0.0) { sum, pair in
        // As they are shown.
        let difference = Double(min(1, max(-1, pair.0)) - min(1, max(-1, pair.1)))
        return sum + difference * difference
      }
      // Of values from -1 to 1.
      let decibels = 10 * log10(4 * Double(exact.count) / error)
      #expect(decibels >= 45, "\(stages[stage].name), label \(label): \(decibels) dB")
      input = exact
    }
  }
}
