package import Cascade
import Diffusion
import Tensors
package import Wire
package import Worker

/// The engine of a real pipeline's stage: `Cascade` computes, this translates.
package final class CascadeEngine: Engine {
  package let info: EngineInfo
  private let engine: StageEngine

  /// Loads the stage.
  ///
  /// - Parameters:
  ///   - pipeline: folder with `cascade.json` and the weights.
  ///   - stage: a stage's name.
  ///   - dtype: `f32` or `bf16`; `nil`: as the manifest says.
  ///   - threads: that share out the samples of a batch, or one sample's work.
  ///   - slots: how many tasks it asks for; `nil`: as its profile on this machine says, which the first start takes.
  ///   - note: told how many those are, and why.
  package init(
    pipeline folder: String, stage: String, device: String = "cpu", dtype: String? = nil, threads: Int = 1, slots: Int? = nil,
    profiles: ProfileStore = ProfileStore(), note: (String) -> Void = { _ in }
  ) throws(EngineError) {
    do throws(CascadeError) {
      engine = try StageEngine(folder, stage: stage, device: device, dtype: dtype, threads: threads)
      let wanted = if let slots { slots } else { try Self.profiledSlots(engine, profiles, stage: stage, note: note) }
      info = EngineInfo(pipeline: PipelineInfo(engine.pipeline), stage: engine.stage, numerics: engine.numerics, slots: wanted)
    } catch {
      throw EngineError(.unusable, error.message)
    }
  }

  private static func profiledSlots(
    _ engine: StageEngine, _ profiles: ProfileStore, stage: String, note: (String) -> Void
  ) throws(CascadeError) -> Int {
    let choice = try SlotChoice.make(for: engine, store: profiles) { note("stage \(stage): \($0)") }
    note("stage \(stage): \(choice.slots) slots: \(choice.reason)")
    return choice.slots
  }

  package func begin(_ assignment: Assignment) throws -> any TaskRun {
    do {
      let task = assignment.task.task
      guard task.stage == info.stage else {
        throw EngineError(
          .invalidTask, "task \(task) is of stage \(task.stage), this worker computes stage \(info.stage) (\(info.stageName))")
      }
      let options = try SamplingOptions(
        engine.pipeline.manifest, overrides: assignment.options.map { StageOverride($0) }, truncated: assignment.truncated)
      return Run(
        try engine.begin(
          label: Int(assignment.label), seed: assignment.seed, options: options, input: try assignment.lowRes.map { try floats($0) },
          checkpoint: try assignment.checkpoint.map { try StageCheckpoint($0) }))
    } catch let error as CascadeError {
      throw EngineError(error.code == .computation ? .failed : .invalidTask, error.message)
    }
  }

  package func advance(_ runs: [any TaskRun]) throws {
    do {
      try engine.advance(runs.compactMap { ($0 as? Run)?.run })
    } catch {
      throw EngineError(.failed, error.message)
    }
  }

  private final class Run: TaskRun {
    let run: StageRun

    init(_ run: StageRun) { self.run = run }

    var step: Int { run.step }
    var steps: Int { run.steps }
    var passes: Int { run.passes }

    func checkpoint() throws -> TaskCheckpoint {
      let state = run.checkpoint()
      return TaskCheckpoint(
        step: UInt32(clamping: state.step), tensors: try state.tensors.map { try WireTensor($0, name: checkpointPrefix + $0.name) })
    }

    func result() throws -> WireTensor {
      do {
        let output = try run.result()
        return try WireTensor(output, name: output.name)
      } catch let error as CascadeError {
        throw EngineError(.failed, error.message)
      }
    }
  }
}

extension StageEngine {
  /// Loads a stage as a worker is told it: by names.
  ///
  /// - Parameter dtype: `f32` or `bf16`; `nil`: as the manifest says.
  convenience init(_ folder: String, stage: String, device: String, dtype: String?, threads: Int) throws(CascadeError) {
    let precision: DType?
    switch dtype {
    case nil: precision = nil
    case "f32": precision = .f32
    case "bf16": precision = .bf16
    case let other?: throw CascadeError(.options, "no dtype \"\(other)\"; dtypes are f32 and bf16")
    }
    // The name is looked up before all weights are hashed, so that a mistake is found out at once.
    let index = try Manifest.load(folder).stage(named: stage)
    let pipeline = try Pipeline.load(folder)
    try self.init(pipeline, stage: index, device: Device(device), dtype: precision, threads: threads)
  }
}

private let checkpointPrefix = "checkpoint."

private func floats(_ tensor: WireTensor) throws(EngineError) -> [Float] {
  guard tensor.dtype == .f32 else { throw EngineError(.invalidTask, "tensor \(tensor.name) is not f32") }
  return tensor.floats()
}

extension WireTensor {
  fileprivate init(_ array: NamedArray, name: String) throws(WireError) {
    try self.init(name: name, floats: array.values, shape: array.shape.map { UInt32(clamping: $0) })
  }
}

extension StageCheckpoint {
  fileprivate init(_ checkpoint: TaskCheckpoint) throws(EngineError) {
    var tensors: [NamedArray] = []
    for tensor in checkpoint.tensors {
      guard tensor.name.hasPrefix(checkpointPrefix) else {
        throw EngineError(.invalidTask, "tensor \(tensor.name) of a checkpoint has a name that does not begin with \(checkpointPrefix)")
      }
      let name = String(tensor.name.dropFirst(checkpointPrefix.count))
      tensors.append(NamedArray(name: name, values: try floats(tensor), shape: tensor.shape.map { Int($0) }))
    }
    self.init(step: Int(checkpoint.step), tensors: tensors)
  }
}

extension StageOverride {
  fileprivate init(_ options: StageOptions) {
    self.init(
      stage: options.stage, steps: options.steps.map { Int($0) }, sampler: options.sampler, eta: options.eta,
      aug: options.aug.map { Int($0) }, guidance: options.guidance)
  }
}

extension PipelineInfo {
  fileprivate init(_ pipeline: Pipeline) {
    let manifest = pipeline.manifest
    self.init(
      name: manifest.name, digest: pipeline.digest, labels: manifest.labels,
      stages: manifest.stages.map { stage in
        StageInfo(
          name: stage.name, resolution: UInt32(clamping: stage.resolution), trainSteps: UInt32(clamping: stage.schedule.steps),
          defaultSteps: UInt32(clamping: stage.sampler.steps), defaultSampler: stage.sampler.kind.rawValue,
          defaultAug: UInt32(clamping: stage.defaultAug), takesAug: stage.takesAug, defaultGuidance: stage.guidance?.weight)
      })
  }
}
