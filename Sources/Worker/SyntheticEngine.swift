import CLinuxShims
import Digests
import Foundation
import SeededRandom
package import Wire
import ZeroMQ

/// An engine that computes a hash chain instead of a network: the same task life, steps, checkpoints and digests, with exact and cheap
/// results.
///
/// A task's chain starts from SHA-256 over (pipeline digest, stage, label, seed, resolved options, truncated, SHA-256 of the low-resolution
/// input) and each step hashes it once more with the step's number. The last link seeds the output's values.
package final class SyntheticEngine: Engine {
  package static let name = "synthetic"
  /// Fixed, for a step takes equally long whatever the batch.
  private static let slots = 4

  /// Three stages with the shipped pipeline's names and resolutions, twelve labels.
  package static let pipeline: PipelineInfo = {
    let stages = [
      StageInfo(name: "base32", resolution: 32, trainSteps: 1000, defaultSteps: 20, defaultSampler: "dpm++2m"),
      StageInfo(
        name: "sr64", resolution: 64, trainSteps: 1000, defaultSteps: 10, defaultSampler: "dpm++2m", defaultAug: 100, takesAug: true),
      StageInfo(name: "sr256", resolution: 256, trainSteps: 1000, defaultSteps: 5, defaultSampler: "dpm++2m"),
    ]
    let labels = (0..<12).map { "class-\($0)" }
    var hash = Fields()
    hash.add("weir synthetic pipeline 1")
    for label in labels { hash.add(label) }
    for stage in stages {
      hash.add(stage.name)
      hash.add(stage.defaultSampler)
      for number in [stage.resolution, stage.trainSteps, stage.defaultSteps, stage.defaultAug] { hash.add(UInt64(number)) }
    }
    return PipelineInfo(name: name, digest: hash.digest(), labels: labels, stages: stages)
  }()

  package let info: EngineInfo
  private let stepTime: Duration

  /// - Parameters:
  ///   - stage: a stage's name.
  ///   - pipeline: what it pretends to be.
  ///   - stepMilliseconds: how long `advance` takes, whatever the batch.
  package init(stage: String, of pipeline: PipelineInfo = SyntheticEngine.pipeline, stepMilliseconds: Double) throws(EngineError) {
    guard let index = pipeline.stages.firstIndex(where: { $0.name == stage }) else {
      throw EngineError(.unusable, unknownStage(stage, of: pipeline))
    }
    guard stepMilliseconds >= 0, stepMilliseconds <= 3_600_000 else {
      throw EngineError(.unusable, "a step of \(stepMilliseconds) ms makes no sense; give 0 to 3600000")
    }
    info = EngineInfo(pipeline: pipeline, stage: index, numerics: Self.name, slots: Self.slots)
    stepTime = .milliseconds(stepMilliseconds)
    // Late by a twentieth of a millisecond a step, a stage would do half a percent less than it should.
    CLinuxShims_wake_thread_in_time()
  }

  package func begin(_ assignment: Assignment) throws -> any TaskRun {
    let plan = try Plan(assignment, stage: info.stage, of: info.pipeline)
    var run = Run(plan: plan, chain: plan.start, step: 0)
    if let checkpoint = assignment.checkpoint { run = try Run(plan: plan, restoring: checkpoint) }
    return run
  }

  package func advance(_ runs: [any TaskRun]) throws {
    let end = SuspendingClock.now + stepTime
    for case let run as Run in runs { run.advance() }
    let left = SuspendingClock.now.duration(to: end) / .seconds(1)
    if left > 0 { Thread.sleep(forTimeInterval: left) }
  }

  /// The output of a stage, computed without steps in time, workers or a broker: what every fleet must deliver.
  ///
  /// - Parameters:
  ///   - options: as submitted; what is absent is the pipeline's default.
  ///   - stage: index of the stage whose output is wanted; `nil`: the last.
  package static func reference(
    label: UInt32, seed: UInt64, options: [StageOptions] = [], truncated: Bool = false, stage: Int? = nil
  ) throws -> WireTensor {
    let outputs = try references(
      label: label, seed: seed, options: options, truncated: truncated, stages: stage.map { $0 + 1 } ?? pipeline.stages.count)
    return outputs[outputs.count - 1]
  }

  /// The same of each of the first stages, in order.
  ///
  /// - Parameter stages: how many, at least one.
  package static func references(
    label: UInt32, seed: UInt64, options: [StageOptions] = [], truncated: Bool = false, stages: Int, of pipeline: PipelineInfo = pipeline
  ) throws -> [WireTensor] {
    var outputs: [WireTensor] = []
    for index in 0..<stages {
      outputs.append(
        try reference(label: label, seed: seed, options: options, truncated: truncated, stage: index, of: pipeline, input: outputs.last))
    }
    return outputs
  }

  /// The same of one stage.
  ///
  /// - Parameter input: the output of the stage before; `nil` for the first.
  package static func reference(
    label: UInt32, seed: UInt64, options: [StageOptions], truncated: Bool, stage: Int, of pipeline: PipelineInfo, input: WireTensor?
  ) throws -> WireTensor {
    let task = TaskRef(TaskID(job: JobID(rawValue: 0), sample: 0, stage: UInt32(stage)), attempt: 1)
    let plan = try Plan(
      Assignment(task: task, label: label, seed: seed, options: options, truncated: truncated, lowRes: input), stage: stage, of: pipeline)
    let run = Run(plan: plan, chain: plan.start, step: 0)
    while run.step < run.steps { run.advance() }
    return try run.result()
  }

  /// A checked assignment.
  private struct Plan {
    let start: [UInt8]
    let steps: Int
    let resolution: Int
    let outputName: String

    init(_ assignment: Assignment, stage index: Int, of pipeline: PipelineInfo) throws(EngineError) {
      let stages = pipeline.stages
      let task = assignment.task.task
      guard task.stage == index else {
        throw EngineError(
          .invalidTask, "task \(task) is of stage \(task.stage), this worker computes stage \(index) (\(stages[index].name))")
      }
      guard assignment.label < pipeline.labels.count else {
        throw EngineError(.invalidTask, "label \(assignment.label) is not one of the pipeline's \(pipeline.labels.count)")
      }
      var hash = Fields()
      hash.add("weir synthetic task 1")
      hash.add(pipeline.digest)
      hash.add(UInt64(index))
      hash.add(UInt64(assignment.label))
      hash.add(assignment.seed)
      hash.add(assignment.truncated ? 1 : 0)
      var ownSteps = 0
      for (number, stage) in stages.enumerated() {
        let given = assignment.options.last { $0.stage == stage.name }
        let steps = given?.steps ?? stage.defaultSteps
        guard steps >= 1, steps <= stage.trainSteps else {
          throw EngineError(.invalidTask, "stage \(stage.name) takes 1 to \(stage.trainSteps) steps, not \(steps)")
        }
        hash.add(UInt64(steps))
        hash.add(given?.sampler ?? stage.defaultSampler)
        hash.add((given?.eta ?? 0).bitPattern)
        hash.add(UInt64(given?.aug ?? stage.defaultAug))
        if number == index { ownSteps = Int(steps) }
      }
      if index > 0 {
        let side = stages[index - 1].resolution
        guard let input = assignment.lowRes, input.dtype == .f32, input.shape == [3, side, side] else {
          throw EngineError(.invalidTask, "stage \(stages[index].name) needs a low_res of f32 (3, \(side), \(side))")
        }
        hash.add(input.digest)
      }
      start = hash.digest()
      steps = ownSteps
      resolution = Int(stages[index].resolution)
      outputName = assignment.truncated && index == 0 ? "z_s" : "x0"
    }
  }

  private final class Run: TaskRun {
    private static let stateName = "checkpoint.chain"
    private let plan: Plan
    private var chain: [UInt8]
    /// Made in the last step's time, as a network makes its own.
    private var output: WireTensor?
    private(set) var step: Int
    var steps: Int { plan.steps }
    // Its stages can't be guided.
    let passes = 1

    init(plan: Plan, chain: [UInt8], step: Int) {
      self.plan = plan
      self.chain = chain
      self.step = step
    }

    convenience init(plan: Plan, restoring checkpoint: TaskCheckpoint) throws(EngineError) {
      guard Int(checkpoint.step) <= plan.steps else {
        throw EngineError(.invalidTask, "the checkpoint is after step \(checkpoint.step) of \(plan.steps)")
      }
      guard checkpoint.tensors.count == 1, let state = checkpoint.tensors.first, state.name == Self.stateName, state.dtype == .u8,
        state.data.count == 32
      else { throw EngineError(.invalidTask, "the checkpoint is not one u8 tensor \(Self.stateName) of 32 bytes") }
      self.init(plan: plan, chain: state.data.bytes, step: Int(checkpoint.step))
    }

    func advance() {
      var hash = Fields()
      hash.add(chain)
      hash.add(UInt64(step))
      chain = hash.digest()
      step += 1
      if step == steps { output = try? makeOutput() }
    }

    private func makeOutput() throws -> WireTensor {
      var random = SplitMix64(seed: chain.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
      let count = 3 * plan.resolution * plan.resolution
      let floats = [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
        // 24 bits each: every value in [-1, 1) is exact.
        for index in 0..<count { buffer[index] = Float(random.next() >> 40) * 0x1p-23 - 1 }
        initialized = count
      }
      let side = UInt32(plan.resolution)
      return try WireTensor(name: plan.outputName, floats: floats, shape: [3, side, side])
    }

    func checkpoint() throws -> TaskCheckpoint {
      TaskCheckpoint(
        step: UInt32(step), tensors: [try WireTensor(name: Self.stateName, dtype: .u8, shape: [32], data: Frame(chain))])
    }

    // One that was resumed after its last step has none yet.
    func result() throws -> WireTensor { try output ?? makeOutput() }
  }

  /// Fields to be hashed, each with its length or of fixed length, so that no two lists of fields give the same bytes.
  private struct Fields {
    private var bytes: [UInt8] = []

    mutating func add(_ number: UInt64) {
      for shift in stride(from: 0, to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(shift))) }
    }

    mutating func add(_ field: [UInt8]) {
      add(UInt64(field.count))
      bytes += field
    }

    mutating func add(_ text: String) { add(Array(text.utf8)) }

    func digest() -> [UInt8] { sha256(bytes) }
  }
}

/// The message for a stage that a pipeline does not have.
func unknownStage(_ stage: String, of pipeline: PipelineInfo) -> String {
  "pipeline \"\(pipeline.name)\" has no stage \"\(stage)\"; its stages are \(pipeline.stages.map(\.name).joined(separator: ", "))"
}
