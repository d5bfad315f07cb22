package import Cascade
package import Worker

/// What an image takes of a stage on this machine.
package struct StageCost: Encodable, Sendable {
  package let stage: String
  /// Of an image that asks for nothing else.
  package let steps: Int
  /// Of a sample, in the batch in which it takes the least.
  package let stepMilliseconds: Double

  private enum CodingKeys: String, CodingKey {
    case stage, steps
    case stepMilliseconds = "step_ms"
  }

  /// Loads a stage and takes its profile, or the one that is kept. Parameters are as `CascadeEngine.init`'s.
  package static func measure(
    pipeline: String, stage: String, device: String = "cpu", dtype: String? = nil, threads: Int,
    profiles: ProfileStore = ProfileStore(), note: (String) -> Void = { _ in }
  ) throws(EngineError) -> StageCost {
    do throws(CascadeError) {
      let engine = try StageEngine(pipeline, stage: stage, device: device, dtype: dtype, threads: threads)
      let profile = try profiles.profile(of: engine) { note("stage \(stage): \($0)") }
      return StageCost(
        stage: stage, steps: engine.pipeline.manifest.stages[engine.stage].sampler.steps,
        stepMilliseconds: profile.leastMillisecondsPerSample)
    } catch {
      throw EngineError(.unusable, error.message)
    }
  }
}
