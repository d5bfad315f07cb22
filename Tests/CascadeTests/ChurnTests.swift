import Cascade
import Diffusion
import Foundation
import SeededRandom
import Tensors
import Testing

/// The shipped networks, stepped in batches that change from step to step: samples join, leave, come back and change places, and every batch size
/// and slot up to a worker's usual number occurs. Each sample's bytes are those it has alone.
@Suite struct ChurnTests {
  static let slots = 4

  struct Case: Sendable, CustomTestStringConvertible {
    let stage: Int
    let dtype: DType
    /// The images' sides are divided by it: large ones take long, and bf16 is emulated on many processors.
    let divisor: Int

    var testDescription: String { "stage \(stage), \(dtype), sides divided by \(divisor)" }
  }

  static let cases = [
    Case(stage: 0, dtype: .f32, divisor: 1), Case(stage: 1, dtype: .f32, divisor: 1), Case(stage: 2, dtype: .f32, divisor: 4),
    Case(stage: 0, dtype: .bf16, divisor: 4), Case(stage: 1, dtype: .bf16, divisor: 4), Case(stage: 2, dtype: .bf16, divisor: 8),
  ]

  @Test(arguments: cases) func bytesDependOnTheSampleAlone(_ this: Case) throws {
    try withShippedPipeline(dividedBy: this.divisor) { pipeline in
      let orders = try orders(pipeline)
      func begin(_ index: Int, _ engine: StageEngine) throws -> StageRun {
        var input: [Float]?
        if this.stage > 0 {
          let side = pipeline.manifest.stages[this.stage - 1].resolution
          input = (0..<3 * side * side).map { Float(($0 &* 37 &+ index &* 11) % 200) / 100 - 1 }
        }
        return try engine.begin(label: orders[index].label, seed: orders[index].seed, options: orders[index].options, input: input)
      }
      let engine = try StageEngine(pipeline, stage: this.stage, dtype: this.dtype)
      let alone = try orders.indices.map { index in
        let run = try begin(index, engine)
        while !run.isFinished { try engine.advance([run]) }
        return try run.result().values
      }
      #expect(Set(alone).count == alone.count)
      for threads in 1...2 {
        let engine = try StageEngine(pipeline, stage: this.stage, dtype: this.dtype, threads: threads)
        let runs = try orders.indices.map { try begin($0, engine) }
        var random = SplitMix64(seed: UInt64(threads))
        var history: [[Int]] = []
        var places: Set<[Int]> = []
        while runs.contains(where: { !$0.isFinished }) {
          let size = Self.slots - history.count % Self.slots
          let batch = Array(runs.indices.filter { !runs[$0].isFinished }.shuffled(using: &random).prefix(size))
          history.append(batch)
          for slot in batch.indices { places.insert([batch.count, slot]) }
          try engine.advance(batch.map { runs[$0] })
        }
        #expect(places.count == Self.slots * (Self.slots + 1) / 2, "some batch size or slot did not occur")
        for (index, run) in runs.enumerated() where try run.result().values != alone[index] {
          Issue.record("\(this), \(threads) threads: sample \(index) differs after the batches \(history)")
        }
      }
    }
  }

  /// Samples of different labels, samplers, numbers of steps and levels of augmentation.
  private func orders(_ pipeline: Pipeline) throws -> [Order] {
    let variants: [(String, Int, Double, Int)] = [
      ("dpm++2m", 3, 0, 100), ("ddpm", 2, 0, 0), ("ddim", 2, 0.7, 600), ("unipc", 4, 0, 0), ("ddim", 3, 0, 1), ("ddpm", 3, 0, 250),
    ]
    return try variants.enumerated().map { index, variant in
      let overrides = pipeline.manifest.stages.map {
        StageOverride(stage: $0.name, steps: variant.1, sampler: variant.0, eta: variant.2, aug: $0.takesAug ? variant.3 : nil)
      }
      return Order(
        label: index * 5 % 12, seed: 1000 + UInt64(index), options: try SamplingOptions(pipeline.manifest, overrides: overrides))
    }
  }

  /// The shipped weights under a manifest with smaller images: the networks take any size.
  private func withShippedPipeline(dividedBy divisor: Int, _ body: (Pipeline) throws -> Void) throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let shipped = root.appending(path: "ops/pipelines/avatars")
    guard divisor > 1 else { return try body(Pipeline.load(shipped.path)) }
    let data = try Data(contentsOf: shipped.appending(path: "cascade.json"))
    var manifest = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    var stages = try #require(manifest["stages"] as? [[String: Any]])
    let folder = FileManager.default.temporaryDirectory.appending(path: "weir-churn-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    for index in stages.indices {
      var network = try #require(stages[index]["network"] as? [String: Any])
      let side = try #require(network["image_size"] as? Int) / divisor
      network["image_size"] = side
      network["attention_resolutions"] = try #require(network["attention_resolutions"] as? [Int]).map { $0 / divisor }
      stages[index]["network"] = network
      stages[index]["resolution"] = side
      let weights = try #require(stages[index]["weights"] as? String)
      try FileManager.default.createSymbolicLink(
        at: folder.appending(path: weights), withDestinationURL: shipped.appending(path: weights))
    }
    manifest["stages"] = stages
    try JSONSerialization.data(withJSONObject: manifest).write(to: folder.appending(path: "cascade.json"))
    try body(Pipeline.load(folder.path))
  }
}
