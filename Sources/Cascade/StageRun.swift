import Diffusion

/// One sample going through one stage. Stepped by a `StageEngine`; everything it holds is plain numbers.
package final class StageRun {
  package let label: Int
  /// What the network is shown beside x: z_s, or z_0 where there is no augmentation; `nil` in the base stage.
  let lowRes: [Float]?
  /// s, for a network that is told it.
  let aug: Int
  /// `nil`: none.
  let guidance: Guidance?
  let sampler: Sampler
  private let noise: NoiseSource
  private let resultName: String
  /// Of the result; a z_s has its noise yet, and is left as it is.
  private let smoothing: Smoothing?
  private let resolution: Int
  private let lowResolution: Int?
  private(set) var state: SamplerState

  /// Steps finished.
  package var step: Int { state.step }
  /// Steps in all: of a truncated run, fewer than its options say.
  package var steps: Int { sampler.steps }
  package var isFinished: Bool { step == steps }
  /// How often a step calls the network.
  package var passes: Int { guidance == nil ? 1 : 2 }

  /// - Parameters:
  ///   - input: the previous stage's output, (3, r, r) flat; `nil` exactly in the first stage. Of a truncated first stage: z_s.
  ///   - checkpoint: where to go on from; `nil`: from the start.
  init(
    _ recipe: StageRecipe, label: Int, seed: UInt64, options: SamplingOptions, input: [Float]?, checkpoint: StageCheckpoint?
  ) throws(CascadeError) {
    let stage = recipe.stage
    guard recipe.labels.contains(label) else {
      throw CascadeError(.options, "label \(label) is not in 0 to \(recipe.labels.count - 1)")
    }
    guard options.stages.indices.contains(recipe.index) else {
      throw CascadeError(.options, "the options are for \(options.stages.count) stages, stage \(stage.name) is number \(recipe.index)")
    }
    let own = options.stages[recipe.index]
    self.label = label
    resolution = stage.resolution
    lowResolution = recipe.lowResolution
    noise = NoiseSource(seed: seed, stage: UInt8(truncatingIfNeeded: recipe.index))
    aug = own.aug
    guidance = own.guidance
    let isTruncated = options.truncated && recipe.index == 0
    resultName = isTruncated ? "z_s" : "x0"
    smoothing = isTruncated ? nil : stage.smoothing
    do {
      sampler = try Sampler(
        own.kind, steps: own.steps, spacing: own.spacing, eta: own.eta, schedule: recipe.schedule, prediction: stage.prediction,
        variance: stage.variance, until: isTruncated ? options.stages[1].aug : 0, threshold: own.guidance?.threshold)
    } catch {
      throw CascadeError(.options, "stage \(stage.name): \(error.message)")
    }
    lowRes = try recipe.conditioning(input, aug: own.aug, isAugmented: options.truncated && recipe.index == 1, noise: noise)
    let count = 3 * stage.resolution * stage.resolution
    guard let checkpoint else {
      state = sampler.start(noise, count: count)
      return
    }
    var arrays = Dictionary(checkpoint.tensors.map { ($0.name, $0.values) }) { first, _ in first }
    guard arrays.count == checkpoint.tensors.count else {
      throw CascadeError(.input, "stage \(stage.name): the checkpoint has two tensors of one name")
    }
    let saved = arrays.removeValue(forKey: "z_s")
    guard saved == (aug > 0 ? lowRes : nil) else {
      throw CascadeError(.input, "stage \(stage.name): the checkpoint's z_s is not the one of this sample and input")
    }
    do {
      state = try SamplerState(step: checkpoint.step, arrays: arrays, sampler: sampler, count: count)
    } catch {
      throw CascadeError(.input, "stage \(stage.name): \(error.message)")
    }
  }

  /// Begins anew with `left` steps to go: at `image`, noised.
  ///
  /// - Parameter image: (3, R, R) flat, in [-1, 1].
  func restart(from image: [Float], left: Int) throws(CascadeError) {
    precondition(image.count == state.x.count, "the image has the stage's size")
    do {
      state = try sampler.start(noise, from: image, left: left)
    } catch {
      throw CascadeError(.options, error.message)
    }
  }

  /// Original index of the timestep that the next step calls the network with.
  var timestep: Int { sampler.timesteps[step] }

  var x: [Float] { state.x }

  /// - Parameters:
  ///   - modelOutput: the network's, for the run's label.
  ///   - unconditional: the same for the null class, of a run with guidance.
  func advance(_ modelOutput: UnsafeBufferPointer<Float>, unconditional: UnsafeBufferPointer<Float>? = nil) {
    guard let guidance, let unconditional else {
      sampler.advance(&state, modelOutput: modelOutput, noise: noise)
      return
    }
    guidance.combine(modelOutput, unconditional: unconditional, count: x.count).withUnsafeBufferPointer {
      sampler.advance(&state, modelOutput: $0, noise: noise)
    }
  }

  /// Everything that is needed to go on elsewhere with equal bytes, besides the run's input.
  package func checkpoint() -> StageCheckpoint {
    var tensors = state.arrays.sorted { $0.key < $1.key }
      .map { NamedArray(name: $0.key, values: $0.value, shape: [3, resolution, resolution]) }
    if aug > 0, let lowRes, let side = lowResolution {
      tensors.append(NamedArray(name: "z_s", values: lowRes, shape: [3, side, side]))
    }
    return StageCheckpoint(step: step, tensors: tensors)
  }

  /// The finished output under its name: `x0`, or `z_s` of a truncated first stage.
  package func result() throws(CascadeError) -> NamedArray {
    guard isFinished else { throw CascadeError(.computation, "the run is at step \(step) of \(steps) and has no result yet") }
    guard state.x.allSatisfy(\.isFinite) else {
      throw CascadeError(.computation, "the network's output is not finite; its weights are unusable in this precision")
    }
    return NamedArray(name: resultName, values: smoothing?(state.x, side: resolution) ?? state.x, shape: [3, resolution, resolution])
  }
}

/// f32 numbers with a name and a shape, row-major.
package struct NamedArray: Hashable, Sendable {
  package let name: String
  package let values: [Float]
  package let shape: [Int]

  package init(name: String, values: [Float], shape: [Int]) {
    self.name = name
    self.values = values
    self.shape = shape
  }
}

/// A run between two steps: `x`, where the sampler has one its `history`, and where there is augmentation `z_s`.
package struct StageCheckpoint: Hashable, Sendable {
  /// Steps finished.
  package let step: Int
  package let tensors: [NamedArray]

  package init(step: Int, tensors: [NamedArray]) {
    self.step = step
    self.tensors = tensors
  }
}

/// What all runs of a stage share.
struct StageRecipe {
  let index: Int
  let stage: Manifest.Stage
  let labels: Range<Int>
  let schedule: Schedule
  let lowResolution: Int?
  /// On which the levels of augmentation count: the stage below's.
  let lowSchedule: Schedule?

  init(_ manifest: Manifest, index: Int) throws(CascadeError) {
    self.index = index
    stage = manifest.stages[index]
    labels = 0..<manifest.labels.count
    schedule = try stage.schedule.tables()
    let below = index > 0 ? manifest.stages[index - 1] : nil
    lowResolution = below?.resolution
    lowSchedule = try below?.schedule.tables()
  }

  /// The low-resolution image as the network is shown it.
  ///
  /// - Parameter isAugmented: `input` is already z_s.
  func conditioning(_ input: [Float]?, aug: Int, isAugmented: Bool, noise: NoiseSource) throws(CascadeError) -> [Float]? {
    guard let side = lowResolution, let lowSchedule else {
      guard input == nil else { throw CascadeError(.input, "stage \(stage.name) is the first and takes no input") }
      return nil
    }
    guard let input, input.count == 3 * side * side else {
      throw CascadeError(
        .input, "stage \(stage.name) needs an input of (3, \(side), \(side)) numbers, not \(input.map { String($0.count) } ?? "none")")
    }
    guard input.allSatisfy(\.isFinite) else {
      throw CascadeError(.input, "stage \(stage.name): its input holds a value that is not finite")
    }
    return aug > 0 && !isAugmented ? Augmentation.zS(input, s: aug, schedule: lowSchedule, noise: noise) : input
  }
}
