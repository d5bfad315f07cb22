import Cascade
import Foundation
import Tensors
import Testing

/// One sample and how it is to be made.
struct Order: Sendable {
  var label: Int
  var seed: UInt64
  var options: SamplingOptions
}

@Suite struct SamplingTests {
  let pipeline: Pipeline

  init() throws { pipeline = try Pipeline.load(TinyPipeline.shared.get().directory) }

  /// Samples with different labels, seeds, samplers and numbers of steps, for one stage and those below it.
  func orders() throws -> [Order] {
    let variants: [(String, Int, Double)] = [
      ("ddpm", 3, 0), ("ddim", 2, 0), ("ddim", 3, 0.7), ("dpm++2m", 4, 0), ("ddpm", 1, 0), ("unipc", 4, 0),
    ]
    return try variants.enumerated().map { index, variant in
      let overrides = pipeline.manifest.stages.map {
        StageOverride(
          stage: $0.name, steps: variant.1, sampler: variant.0, eta: variant.2, aug: $0.takesAug ? [100, 0, 600, 250, 1, 30][index] : nil)
      }
      return Order(
        label: index % 3, seed: .max - 1 &+ UInt64(index), options: try SamplingOptions(pipeline.manifest, overrides: overrides))
    }
  }

  /// A made-up output of the stage below.
  func input(_ stage: Int, _ order: Order) -> [Float]? {
    guard stage > 0 else { return nil }
    let side = pipeline.manifest.stages[stage - 1].resolution
    return (0..<3 * side * side).map { Float(($0 &* 37 &+ order.label &* 11) % 200) / 100 - 1 }
  }

  /// In bf16, which many processors emulate, the small stages; `ChurnTests` has the last one too, without checkpoints.
  @Test(arguments: [(0, DType.f32), (1, .f32), (2, .f32), (0, .bf16), (1, .bf16)])
  func bytesDependOnTheSampleAlone(_ stage: Int, _ dtype: DType) throws {
    let engine = try StageEngine(pipeline, stage: stage, dtype: dtype)
    let orders = try orders()
    func begin(_ order: Order, _ checkpoint: StageCheckpoint? = nil) throws -> StageRun {
      try engine.begin(label: order.label, seed: order.seed, options: order.options, input: input(stage, order), checkpoint: checkpoint)
    }
    // Alone, with every checkpoint on the way.
    var results: [[Float]] = []
    var checkpoints: [[StageCheckpoint]] = []
    for order in orders {
      let run = try begin(order)
      var saved = [run.checkpoint()]
      while !run.isFinished {
        try engine.advance([run])
        saved.append(run.checkpoint())
      }
      #expect(run.steps == order.options.stages[stage].steps)
      results.append(try run.result().values)
      checkpoints.append(saved)
    }
    #expect(Set(results).count == results.count)
    // All together from the start, in another order: they finish at different steps.
    var together: [Int: StageRun] = [:]
    for index in orders.indices.reversed() { together[index] = try begin(orders[index]) }
    while true {
      let rest = together.sorted { $0.key > $1.key }.map(\.value).filter { !$0.isFinished }
      if rest.isEmpty { break }
      try engine.advance(rest)
    }
    for (index, run) in together { #expect(try run.result().values == results[index], "together, sample \(index)") }
    // From every checkpoint there is, all in one batch of strangers at different steps, on another engine.
    let other = try StageEngine(pipeline, stage: stage, dtype: dtype)
    var restored: [(index: Int, step: Int, run: StageRun)] = []
    for (index, order) in orders.enumerated() {
      for checkpoint in checkpoints[index] {
        let run = try other.begin(
          label: order.label, seed: order.seed, options: order.options, input: input(stage, order), checkpoint: checkpoint)
        #expect(run.step == checkpoint.step && run.checkpoint() == checkpoint)
        restored.append((index, checkpoint.step, run))
      }
    }
    while true {
      let rest = restored.map(\.run).filter { !$0.isFinished }
      if rest.isEmpty { break }
      try other.advance(rest)
    }
    for (index, step, run) in restored { #expect(try run.result().values == results[index], "sample \(index) from step \(step)") }
  }

  @Test func serialSamplerIsTheChainOfStages() throws {
    let sampler = try SerialSampler(pipeline)
    let options = try SamplingOptions(pipeline.manifest)
    var seen: [String] = []
    let sample = try sampler.sample(label: 1, seed: 42, options: options) { seen.append("\($0):\($1)/\($2)") }
    #expect(sample.image.shape == [3, 64, 64] && sample.image.name == "x0" && sample.stageSeconds.count == 3)
    #expect(seen.count == 12 && seen.first == "0:1/5" && seen.last == "2:3/3")
    var output: NamedArray?
    for stage in 0..<3 {
      let engine = try StageEngine(pipeline, stage: stage)
      let run = try engine.begin(label: 1, seed: 42, options: options, input: output?.values)
      while !run.isFinished { try engine.advance([run]) }
      output = try run.result()
    }
    #expect(output == sample.image)
    for threads in [2, 3] {
      #expect(
        try SerialSampler(pipeline, threads: threads).sample(label: 1, seed: 42, options: options).image == sample.image,
        "\(threads) threads")
    }
    // Another seed, label or option is another image; the same is the same.
    #expect(try sampler.sample(label: 1, seed: 42, options: options).image == sample.image)
    #expect(try sampler.sample(label: 1, seed: 43, options: options).image != sample.image)
    #expect(try sampler.sample(label: 0, seed: 42, options: options).image != sample.image)
    let other = try SamplingOptions(pipeline.manifest, overrides: [StageOverride(stage: "sr16", aug: 101)])
    #expect(try sampler.sample(label: 1, seed: 42, options: other).image != sample.image)
  }

  /// Many at a time, they are what they are alone.
  @Test func samplesOfAStageInBatches() throws {
    let engine = try StageEngine(pipeline, stage: 1, threads: 2)
    let options = try SamplingOptions(pipeline.manifest)
    let requests = (0..<5).map { index in
      StageEngine.Request(
        label: index % 3, seed: UInt64(40 + index), input: (0..<3 * 8 * 8).map { Float(($0 * (index + 1)) % 100) / 50 - 1 })
    }
    var seen: [Int] = []
    let together = try engine.samples(requests, options: options, batch: 3) { seen.append($0) }
    #expect(seen == [3, 5])
    for (index, request) in requests.enumerated() {
      let run = try engine.begin(label: request.label, seed: request.seed, options: options, input: request.input)
      while !run.isFinished { try engine.advance([run]) }
      #expect(try run.result().values == together[index], "sample \(index)")
    }
  }

  /// With different numbers of steps left, together and alone.
  @Test func samplesThatBeginWithAnImage() throws {
    let engine = try StageEngine(pipeline, stage: 0, threads: 2)
    let options = try SamplingOptions(pipeline.manifest)
    let image: [Float] = (0..<3 * 8 * 8).map { Float($0 % 50) / 25 - 1 }
    let requests = [1, 3, 5, 2].map { (left: Int) -> StageEngine.Request in StageEngine.Request(label: 2, seed: 7, start: (image, left)) }
    let together = try engine.samples(requests, options: options, batch: 4)
    for (index, request) in requests.enumerated() {
      #expect(try engine.samples([request], options: options, batch: 1) == [together[index]], "sample \(index)")
    }
    #expect(Set(together).count == 4 && !together.contains(image))
    let plain = try engine.samples([StageEngine.Request(label: 2, seed: 7)], options: options, batch: 1)
    #expect(!together.contains(plain[0]), "the image made no difference")
    // DPM-Solver++ goes on from an estimate that an image has not.
    let solver = try StageEngine(pipeline, stage: 1)
    let request = StageEngine.Request(label: 0, seed: 7, input: image, start: ([Float](repeating: 0, count: 3 * 16 * 16), 2))
    let error = #expect(throws: CascadeError.self) { try solver.samples([request], options: options, batch: 1) }
    #expect(error?.message.contains("dpm++2m") == true)
  }

  @Test func truncatedRunsHandOverTheirNoise() throws {
    let options = try SamplingOptions(
      pipeline.manifest, overrides: [StageOverride(stage: "base8", steps: 20), StageOverride(stage: "sr16", aug: 300)], truncated: true)
    let base = try StageEngine(pipeline, stage: 0)
    let run = try base.begin(label: 0, seed: 5, options: options)
    #expect(run.steps == 14)
    while !run.isFinished { try base.advance([run]) }
    let zS = try run.result()
    #expect(zS.name == "z_s" && zS.values.contains { abs($0) > 1 })
    // Only finished images are smoothed.
    #expect(pipeline.manifest.stages[0].smoothing != nil && zS.values == run.checkpoint().tensors.first { $0.name == "x" }?.values)
    let next = try StageEngine(pipeline, stage: 1).begin(label: 0, seed: 5, options: options, input: zS.values)
    #expect(next.checkpoint().tensors.first { $0.name == "z_s" }?.values == zS.values)
    #expect(try SerialSampler(pipeline).sample(label: 0, seed: 5, options: options).image.shape == [3, 64, 64])
  }

  @Test func refusesWrongInputs() throws {
    let options = try SamplingOptions(pipeline.manifest)
    let base = try StageEngine(pipeline, stage: 0)
    let sr = try StageEngine(pipeline, stage: 1)
    let good = [Float](repeating: 0.5, count: 192)
    func expectError(_ code: CascadeError.Code, _ body: () throws -> StageRun) {
      let error = #expect(throws: CascadeError.self) { try body() }
      #expect(error?.code == code)
    }
    expectError(.options) { try base.begin(label: 3, seed: 0, options: options) }
    expectError(.options) { try base.begin(label: -1, seed: 0, options: options) }
    expectError(.input) { try base.begin(label: 0, seed: 0, options: options, input: good) }
    expectError(.input) { try sr.begin(label: 0, seed: 0, options: options) }
    expectError(.input) { try sr.begin(label: 0, seed: 0, options: options, input: good + [0]) }
    expectError(.input) { try sr.begin(label: 0, seed: 0, options: options, input: [.nan] + good.dropFirst()) }
    let run = try sr.begin(label: 0, seed: 0, options: options, input: good)
    try sr.advance([run])
    let saved = run.checkpoint()
    #expect(saved.tensors.map(\.name) == ["history", "x", "z_s"])
    #expect(throws: CascadeError.self) { try run.result() }
    expectError(.input) { try sr.begin(label: 0, seed: 1, options: options, input: good, checkpoint: saved) }
    expectError(.input) {
      try sr.begin(label: 0, seed: 0, options: options, input: good, checkpoint: StageCheckpoint(step: 5, tensors: saved.tensors))
    }
    for dropped in 0..<3 {
      var tensors = saved.tensors
      tensors.remove(at: dropped)
      expectError(.input) {
        try sr.begin(label: 0, seed: 0, options: options, input: good, checkpoint: StageCheckpoint(step: 1, tensors: tensors))
      }
    }
    expectError(.input) {
      try sr.begin(
        label: 0, seed: 0, options: options, input: good, checkpoint: StageCheckpoint(step: 1, tensors: saved.tensors + saved.tensors))
    }
  }

  @Test func numericsNamesTheClass() throws {
    let parts = try StageEngine(pipeline, stage: 0, dtype: .f32).numerics.split(separator: "/")
    #expect(parts.count == 5 && parts[0] == "cpu" && parts[2] == "torch-\(Torch.version)" && parts[3] == "f32")
  }
}
