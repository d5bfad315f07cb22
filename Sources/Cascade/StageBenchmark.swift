import Tensors
import UNet

/// What a denoising step of a stage costs, and how much of it is the network's convolutions and linear layers alone.
package struct StageBenchmark: Sendable, Codable {
  package let stage: String
  /// Samples stepped together.
  package let batch: Int
  package let dtype: String
  /// Of a whole step of the batch: network, sampler, copies. Medians, as is `convMilliseconds`.
  package let stepMilliseconds: Double
  /// Of the same step's convolutions and linear layers alone, with the same inputs, weights and threads; taken by turns with the steps.
  package let convMilliseconds: Double
  /// Billions of those layers' multiplications and additions that a step does in a second.
  package let gflops: Double

  private enum CodingKeys: String, CodingKey {
    case stage, batch, dtype
    case stepMilliseconds = "step_ms"
    case convMilliseconds = "conv_ms"
    case gflops
  }

  /// - Parameter repeats: how often each of the two is timed.
  package static func measure(_ engine: StageEngine, batch: Int, repeats: Int) throws -> StageBenchmark {
    let manifest = engine.pipeline.manifest
    let stage = manifest.stages[engine.stage]
    var input: [Float]?
    if engine.stage > 0 {
      let side = manifest.stages[engine.stage - 1].resolution
      input = (0..<3 * side * side).map { Float($0 % 255) / 127.5 - 1 }
    }
    let options = try SamplingOptions(
      manifest, overrides: manifest.stages.map { StageOverride(stage: $0.name, steps: min(repeats + 2, $0.schedule.steps)) })
    let runs = try (0..<batch).map {
      try engine.begin(label: $0 % manifest.labels.count, seed: UInt64($0), options: options, input: input)
    }
    let products = try engine.products()
    func seconds(_ body: () throws -> Void) rethrows -> Double {
      let start = ContinuousClock.now
      try body()
      return (ContinuousClock.now - start) / .seconds(1)
    }
    var steps: [Double] = []
    var convolutions: [Double] = []
    try engine.advance(runs)
    try engine.run(products, count: batch)
    for _ in 0..<repeats where !runs[0].isFinished {
      steps.append(try seconds { try engine.advance(runs) })
      convolutions.append(try seconds { try engine.run(products, count: batch) })
    }
    let step = median(steps)
    let operations = Double(products.reduce(0) { $0 + $1.operations } * batch)
    return StageBenchmark(
      stage: stage.name, batch: batch, dtype: engine.dtype.rawValue, stepMilliseconds: step * 1000,
      convMilliseconds: median(convolutions) * 1000, gflops: operations / step / 1e9)
  }
}

private func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  return sorted.isEmpty ? .nan : (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
}
