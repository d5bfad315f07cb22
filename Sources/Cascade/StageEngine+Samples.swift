extension StageEngine {
  /// A sample that is wanted of a stage.
  package struct Request: Sendable {
    package let label: Int
    package let seed: UInt64
    /// The previous stage's output, (3, r, r) flat; `nil` exactly for the first stage.
    package let input: [Float]?
    /// An image of the stage's size, (3, R, R) flat, that the sample begins with, noised, and how many steps are left then.
    package let start: (image: [Float], left: Int)?

    package init(label: Int, seed: UInt64, input: [Float]? = nil, start: (image: [Float], left: Int)? = nil) {
      self.label = label
      self.seed = seed
      self.input = input
      self.start = start
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
        let run = try begin(label: request.label, seed: request.seed, options: options, input: request.input)
        if let start = request.start { try run.restart(from: start.image, left: start.left) }
        runs.append(run)
      }
      while true {
        let unfinished = runs.filter { !$0.isFinished }
        if unfinished.isEmpty { break }
        try advance(unfinished)
      }
      for run in runs { outputs.append(try run.result().values) }
      progress(outputs.count)
    }
    return outputs
  }
}
