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
  /// Of the same step's convolutions and linear layers alone, by oneDNN (on a GPU, its library), with the same inputs and threads; taken by
  /// turns with the steps. Where a step convolves by Winograd's method it can take less than that.
  package let convMilliseconds: Double
  /// The one by the other.
  package let ratio: Double
  /// Billions of those layers' multiplications and additions that a step does in a second.
  package let gflops: Double

  private enum CodingKeys: String, CodingKey {
    case stage, batch, dtype, ratio
    case stepMilliseconds = "step_ms"
    case convMilliseconds = "conv_ms"
    case gflops
  }

  /// - Parameter repeats: how often each of the two is timed.
  package static func measure(_ engine: StageEngine, batch: Int, repeats: Int) throws -> StageBenchmark {
    let stage = engine.pipeline.manifest.stages[engine.stage]
    var samples = try ExampleSamples(engine, steps: repeats + 2)
    let products = try engine.products(count: batch)
    func seconds(_ body: () throws -> Void) rethrows -> Double {
      let start = ContinuousClock.now
      try body()
      return (ContinuousClock.now - start) / .seconds(1)
    }
    var steps: [Double] = []
    var convolutions: [Double] = []
    try engine.advance(samples.next(batch))
    try engine.run(products, count: batch)
    for _ in 0..<repeats {
      let runs = try samples.next(batch)
      steps.append(try seconds { try engine.advance(runs) })
      convolutions.append(try seconds { try engine.run(products, count: batch) })
    }
    let (step, convolution) = (median(steps), median(convolutions))
    let operations = Double(products.reduce(0) { $0 + $1.operations } * batch)
    return StageBenchmark(
      stage: stage.name, batch: batch, dtype: engine.dtype.rawValue, stepMilliseconds: step * 1000,
      convMilliseconds: convolution * 1000, ratio: step / convolution, gflops: operations / step / 1e9)
  }
}

private func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  return sorted.isEmpty ? .nan : (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
}
