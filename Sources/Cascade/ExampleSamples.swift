/// Samples of a stage to measure it with: labels in turn, made-up inputs. As long as there are unfinished ones, the same are given again.
struct ExampleSamples {
  private let engine: StageEngine
  private let options: SamplingOptions
  private let input: [Float]?
  private var runs: [StageRun] = []
  private var made = 0

  /// - Parameter steps: of each sample; the schedule's number at most.
  init(_ engine: StageEngine, steps: Int) throws(CascadeError) {
    self.engine = engine
    let stages = engine.pipeline.manifest.stages
    options = try SamplingOptions(
      engine.pipeline.manifest, overrides: stages.map { StageOverride(stage: $0.name, steps: min(steps, $0.schedule.steps)) })
    if engine.stage > 0 {
      let side = stages[engine.stage - 1].resolution
      input = (0..<3 * side * side).map { Float($0 % 255) / 127.5 - 1 }
    } else {
      input = nil
    }
  }

  /// So many that are not finished.
  mutating func next(_ count: Int) throws(CascadeError) -> [StageRun] {
    runs.removeAll(where: \.isFinished)
    while runs.count < count {
      let label = made % engine.pipeline.manifest.labels.count
      runs.append(try engine.begin(label: label, seed: UInt64(made), options: options, input: input))
      made += 1
    }
    return Array(runs.prefix(count))
  }
}
