package import Wire

/// What an engine computes, as the worker announces it.
package struct EngineInfo: Sendable, Hashable {
  package var pipeline: PipelineInfo
  /// Index into the pipeline's stages.
  package var stage: Int
  /// Numerics class: results are byte-equal within one.
  package var numerics: String
  /// How many tasks it is best given together, for whoever has no wish of their own.
  package var slots: Int

  package init(pipeline: PipelineInfo, stage: Int, numerics: String, slots: Int) {
    self.pipeline = pipeline
    self.stage = stage
    self.numerics = numerics
    self.slots = slots
  }

  package var stageName: String { pipeline.stages[stage].name }
  package var pipelineName: String { pipeline.name }
}

/// Computes tasks of one stage. Made and used on the worker's compute thread only.
package protocol Engine: AnyObject {
  var info: EngineInfo { get }

  /// Checks an assignment and makes a run of it, at its checkpoint if it has one.
  ///
  /// An `EngineError` says whether another attempt could do better; any other error counts as passing.
  func begin(_ assignment: Assignment) throws -> any TaskRun

  /// One denoising step for each of the runs, which were made by this engine and may be at different steps.
  ///
  /// A call that throws has moved none of them.
  func advance(_ runs: [any TaskRun]) throws
}

/// A task being computed.
package protocol TaskRun: AnyObject {
  /// Steps finished.
  var step: Int { get }
  /// How often a step calls the network: a step takes time in proportion.
  var passes: Int { get }
  /// Steps in all. A run whose `step` is `steps` has a result and is not advanced.
  var steps: Int { get }

  /// All that is needed to go on elsewhere with equal bytes.
  func checkpoint() throws -> TaskCheckpoint

  /// The finished output, f32, (3, R, R). Called on any thread, while nobody else uses the run.
  func result() throws -> WireTensor
}

/// Why an engine could not be made, or would not take a task.
package struct EngineError: Error, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// The task itself is wrong: no attempt can succeed.
    case invalidTask
    /// The computation failed; another worker may fare better.
    case failed
    /// The pipeline, its weights or the device cannot be used.
    case unusable
  }

  package var code: Code
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
