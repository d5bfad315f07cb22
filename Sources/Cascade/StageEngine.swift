import Diffusion
package import Tensors
import UNet

/// A stage's network and the runs' arithmetic: steps any number of samples together, each at its own step.
///
/// The bytes of a run depend on its sample, its options and the numerics class alone, whatever it is stepped together with: the network gives each
/// sample the same output in every batch and slot, and the rest is element by element. Used by one thread at a time.
package final class StageEngine {
  package let pipeline: Pipeline
  /// Index of the stage in the pipeline.
  package let stage: Int
  package let numerics: String
  private let recipe: StageRecipe
  private let network: ServedUNet

  /// Loads the stage's weights.
  ///
  /// - Parameters:
  ///   - dtype: f32 or bf16; `nil`: as the manifest says, see `NumericsClass.dtype`.
  ///   - threads: that share out the samples, or one sample's work where samples are fewer; no sample's bytes depend on them.
  package init(_ pipeline: Pipeline, stage: Int, device: Device = .cpu, dtype: DType? = nil, threads: Int = 1) throws(CascadeError) {
    let setting = pipeline.manifest.stages[stage]
    let path = pipeline.weightsPath(stage: stage)
    self.pipeline = pipeline
    self.stage = stage
    recipe = try StageRecipe(pipeline.manifest, index: stage)
    let dtype = dtype ?? NumericsClass.dtype(setting.dtype, on: device)
    numerics = NumericsClass.name(device: device, dtype: dtype)
    do {
      let weights = try Safetensors.open(path)
      network = try ServedUNet(setting.network, weights: weights, dtype: dtype, device: device, threads: threads)
    } catch let error as SafetensorsError {
      throw CascadeError(.weights, "\(error); train stage \(setting.name) again, or copy its file again")
    } catch let error as UNetError {
      throw CascadeError(.weights, "\(path): \(error.message)")
    } catch {
      throw CascadeError(.computation, "stage \(setting.name) cannot be loaded on \(device): \(error)")
    }
  }

  /// One sample of this stage, from the start or from a checkpoint.
  ///
  /// - Parameters:
  ///   - input: the previous stage's output, (3, r, r) flat; `nil` exactly for the first stage.
  package func begin(
    label: Int, seed: UInt64, options: SamplingOptions, input: [Float]? = nil, checkpoint: StageCheckpoint? = nil
  ) throws(CascadeError) -> StageRun {
    try StageRun(recipe, label: label, seed: seed, options: options, input: input, checkpoint: checkpoint)
  }

  /// One denoising step of each run; none is finished. If this throws, none has moved. Runs with guidance go through the network twice, in the same
  /// batch: with their label, and as the null class.
  package func advance(_ runs: [StageRun]) throws(CascadeError) {
    guard !runs.isEmpty else { return }
    let guided = runs.indices.filter { runs[$0].guidance != nil }
    let outputs: [Float]
    do {
      outputs = try predict(runs.map { ($0, $0.label) } + guided.map { (runs[$0], nil) })
    } catch {
      throw CascadeError(.computation, "stage \(recipe.stage.name) failed at a step: \(error)")
    }
    let count = outputs.count / (runs.count + guided.count)
    outputs.withUnsafeBufferPointer { outputs in
      func output(_ row: Int) -> UnsafeBufferPointer<Float> { UnsafeBufferPointer(rebasing: outputs[row * count..<(row + 1) * count]) }
      let nullRows = Dictionary(uniqueKeysWithValues: zip(guided, runs.count...))
      for (index, run) in runs.enumerated() { run.advance(output(index), unconditional: nullRows[index].map(output)) }
    }
  }

  /// What the network computes in.
  package var dtype: DType { network.dtype }
  package var device: Device { network.device }
  /// Samples of a batch computed at a time.
  package var threads: Int { network.threads }

  /// The convolutions and linear layers of one sample's step, in a batch of `count`.
  func products(count: Int) throws -> [MatrixProduct] { try network.products(side: recipe.stage.resolution, count: count) }

  /// `count` samples' worth of products, shared out among threads as a step is.
  func run(_ products: [MatrixProduct], count: Int) throws { try network.run(products, count: count) }

  /// The network's outputs, one row after the other; a row without a label is of the null class.
  private func predict(_ rows: [(run: StageRun, label: Int?)]) throws -> [Float] {
    let configuration = network.configuration
    let (count, side) = (rows.count, recipe.stage.resolution)
    let runs = rows.map(\.run)
    let x = try Tensor(runs.flatMap(\.x), shape: [count, 3, side, side])
    let timesteps = try Tensor(runs.map { Float($0.timestep) }, shape: [count])
    let labels = configuration.numClasses == nil ? nil : try ClassLabels.tensor(rows.map(\.label))
    var lowRes: Tensor?
    if let low = recipe.lowResolution { lowRes = try Tensor(runs.flatMap { $0.lowRes ?? [] }, shape: [count, 3, low, low]) }
    let levels = configuration.augLevels ? try Tensor(runs.map { Float($0.aug) }, shape: [count]) : nil
    return try network(x: x, timesteps: timesteps, labels: labels, lowRes: lowRes, augLevels: levels).floats()
  }
}
