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
}
