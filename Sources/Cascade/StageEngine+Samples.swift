extension StageEngine {
  /// A sample that is wanted of a stage.
  package struct Request: Sendable {
    package let label: Int
    package let seed: UInt64
    /// The previous stage's output, (3, r, r) flat; `nil` exactly for the first stage.
    package let input: [Float]?

    package init(label: Int, seed: UInt64, input: [Float]? = nil) {
      self.label = label
      self.seed = seed
      self.input = input
    }
  }

  /// The finished outputs, (3, R, R) flat each, in the order of the requests.
  ///
  /// - Parameters:
  ///   - batch: samples stepped together, at least 1; no sample's bytes depend on it.
  ///   - progress: told how many are finished, after each batch.
  package func samples(
    _ requests: [Request], options: SamplingOptions, batch: Int, progress: (Int) -> Void = { _ in }
  ) throws(CascadeError) -> [[Float]] {
    var outputs: [[Float]] = []
    while outputs.count < requests.count {
      var runs: [StageRun] = []
      for request in requests.dropFirst(outputs.count).prefix(batch) {
        runs.append(try begin(label: request.label, seed: request.seed, options: options, input: request.input))
      }
      // All have the same number of steps.
      while runs.contains(where: { !$0.isFinished }) { try advance(runs) }
      for run in runs { outputs.append(try run.result().values) }
      progress(outputs.count)
    }
    return outputs
  }
}
