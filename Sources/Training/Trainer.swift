import Foundation
import Images
import Tensors
package import UNet

/// Trains one stage: AdamW on the diffusion loss, an exponential moving average of the weights beside it.
///
/// On one device, with the same thread count, a run that is stopped and resumed takes the very same steps as one that was not. Several processes
/// keep equal weights, and only the first one writes files and reports.
package final class Trainer {
  package let setting: StageSetting
  package let recipe: Recipe
  package private(set) var state: RunState
  /// The network being trained, and one whose weights are the average.
  package let network: UNet
  package let average: UNet

  private let options: TrainingOptions
  private let optimizer: AdamW
  private let parameters: [Tensor]
  private let averages: [Tensor]
  private let loss: DiffusionLoss
  private let share: StepShare
  private let processes: RunProcesses?
  private let checkpoints: CheckpointStore
  private let report: @Sendable (String) -> Void
  private var rejected = 0

  package struct StepResult: Sendable {
    package var loss: Double
    /// Before clipping.
    package var gradNorm: Double
    package var learningRate: Double
  }

  /// Makes a new run in `options.out`, or goes on with the one there.
  package init(
    setting: StageSetting, network configuration: UNetConfiguration, recipe: Recipe, options: TrainingOptions,
    report: @escaping @Sendable (String) -> Void
  ) throws {
    try options.validate()
    try recipe.validate(setting, networkFactor: 1 << (configuration.channelMult.count - 1))
    try Torch.setThreads(options.threads)
    self.setting = setting
    self.recipe = recipe
    let place = options.place
    share = StepShare(batch: recipe.batch, accumulate: recipe.accumulate, rank: place?.rank ?? 0, world: place?.world ?? 1)
    self.options = options
    let isFirst = share.rank == 0
    self.report = { line in if isFirst { report(line) } }
    do {
      try FileManager.default.createDirectory(atPath: options.out, withIntermediateDirectories: true)
    } catch {
      throw TrainingError(.file, "\(options.out): cannot be made: \(error.localizedDescription)")
    }
    checkpoints = CheckpointStore(folder: options.out)
    if checkpoints.exists && !options.resume {
      throw TrainingError(
        .checkpoint, "\(options.out) holds a run already: give --resume to go on with it, or another folder with --out")
    }
    processes = try place.map { try RunProcesses($0, patience: options.patience) }
    network = try UNet(configuration, seed: recipe.seed, device: options.device)
    average = try UNet(configuration, seed: recipe.seed, device: options.device)
    parameters = network.parameters.map(\.tensor)
    averages = average.parameters.map(\.tensor)
    for tensor in averages { try tensor.requiresGrad(false) }
    optimizer = try AdamW(
      network.parameters.map { ($0.name, $0.tensor) },
      options: AdamW.Options(rate: recipe.learningRate, weightDecay: recipe.weightDecay))
    loss = DiffusionLoss(schedule: setting.schedule, prediction: setting.prediction, variance: setting.variance)
    state = RunState(stage: setting.name, seed: recipe.seed)
    if options.resume {
      try restore()
    } else if let path = options.initialWeights {
      let file = try Safetensors.open(path)
      try Weights.load(file, path: path, into: network.parameters)
      try Weights.load(file, path: path, into: average.parameters)
    }
  }

  // MARK: - The run

  /// Trains until the budget is used or `stop` says so; leaves a checkpoint either way.
  package func run(stop: () -> Bool) throws {
    let source = try openData()
    let redrawn = try openRedrawn(source)
    try processes?.compare(fingerprint(source, redrawn))
    let log = isFirst ? try MetricsLog(path: "\(options.out)/metrics.jsonl", after: state.step) : nil
    let queue = BatchQueue(
      maker: BatchMaker(setting: setting, source: source, redrawn: redrawn, recipe: recipe), firstExample: state.examples, share: share)
    defer { queue.stop() }
    let count = network.parameterCount
    report(
      "\(setting.name): \(Double(count / 10_000) / 100) M parameters, \(source.count) images, \(share.examples) a step, "
        + (share.world > 1 ? "\(share.world) processes, " : "")
        + (state.step > 0 ? "going on at step \(state.step)" : "new run") + ", \(options.out)")

    let clock = ContinuousClock()
    var interval = Interval(start: clock.now, seconds: state.seconds)
    var saved = clock.now
    var shown = clock.now
    var recent = Interval(start: clock.now, seconds: state.seconds)
    var stops = try agree(toStop: stop())
    while !stops, !isDone {
      let began = clock.now
      let result = try step(keepingTheRun(queue.next))
      state.seconds += (clock.now - began) / .seconds(1)
      stops = try agree(toStop: stop())
      interval.add(result)
      recent.add(result)
      if state.step % 20 == 0 || isDone {
        try log?.append(interval.line(state, share))
        interval = Interval(start: clock.now, seconds: state.seconds)
      }
      if clock.now - shown > .seconds(10) || isDone {
        report(recent.progress(state, share, timeLeft: timeLeft(recent)))
        recent = Interval(start: clock.now, seconds: state.seconds)
        shown = clock.now
      }
      if isFirst, options.sampleEvery > 0, state.step % options.sampleEvery == 0 || isDone {
        try drawSamples(source)
      }
      if clock.now - saved > .seconds(options.checkpointMinutes * 60) {
        try save()
        saved = clock.now
      }
    }
    try save()
    report(
      "\(setting.name): stopped at step \(state.step) (\(state.examples) examples, \(Interval.duration(state.seconds)) of training); checkpoint in \(options.out)"
    )
  }

  private var isDone: Bool {
    (options.maxSteps.map { state.step >= $0 } ?? false) || (options.maxMinutes.map { state.seconds >= $0 * 60 } ?? false)
  }

  /// The used part of the budget.
  private var progress: Double {
    max(
      options.maxSteps.map { Double(state.step) / Double($0) } ?? 0,
      options.maxMinutes.map { state.seconds / ($0 * 60) } ?? 0)
  }

  private func timeLeft(_ recent: Interval) -> Double? {
    let bySteps = options.maxSteps.map { Double($0 - state.step) * recent.secondsPerStep(state) }
    let byMinutes = options.maxMinutes.map { $0 * 60 - state.seconds }
    return [bySteps, byMinutes].compactMap(\.self).min().map { max($0, 0) }
  }

  /// What fails before the optimiser's step leaves the run as it was: it is kept.
  private func keepingTheRun<Result>(_ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch {
      try save()
      throw error
    }
  }

  /// One optimiser step on `batches`, which must be those of the step after those that `state` counts.
  @discardableResult
  package func step(_ batches: [Batch]) throws -> StepResult {
    let rate = recipe.learningRate(step: state.step, progress: progress)
    try optimizer.clearGradients()
    var total = 0.0
    for (index, batch) in batches.enumerated() {
      // Dropout alone draws from LibTorch's generator; its draws follow from the step, as all others do.
      try Torch.manualSeed(recipe.seed ^ (share.number(ofBatch: index, step: state.step) &* 0x9e37_79b9_7f4a_7c15))
      let value = try meanLoss(batch).mul(1 / Double(share.accumulate))
      try value.backward()
      total += try value.item()
    }
    if let processes {
      total = try keepingTheRun { try processes.averageGradients(of: parameters, and: total) }
    }
    let norm = try Tensor.clipGradNorm(parameters, max: recipe.clip)
    let result = StepResult(loss: total, gradNorm: norm, learningRate: rate)
    if norm.isFinite && result.loss.isFinite {
      optimizer.options.rate = rate
      try optimizer.step()
      let weight = 1 - recipe.averaging(updates: optimizer.stepCount)
      try Torch.withoutGradients { () throws(TorchError) in try Tensor.lerp_(averages, parameters, weight: weight) }
      rejected = 0
    } else {
      rejected += 1
      guard rejected < 20 else {
        throw TrainingError(
          .diverged,
          "\(setting.name): 20 steps in a row had a loss or gradient that is not finite (step \(state.step)); resume with a lower --lr")
      }
    }
    state.step += 1
    state.examples += UInt64(share.examples)
    return result
  }

  private func meanLoss(_ batch: Batch) throws -> Tensor {
    let device = options.device
    let prepared = try loss.prepare(batch, device: device)
    let timesteps = try Tensor(batch.timesteps.map(Float.init), shape: [batch.count], device: device)
    let labels = try ClassLabels.tensor(batch.labels, device: device)
    let lowRes =
      batch.lowRes.isEmpty
      ? nil : try Tensor(batch.lowRes, shape: [batch.count, 3, batch.lowSide, batch.lowSide], device: device)
    let levels = batch.levels.isEmpty ? nil : try Tensor(batch.levels.map(Float.init), shape: [batch.count], device: device)
    let output = try network(
      x: prepared.xt, timesteps: timesteps, labels: labels, lowRes: lowRes, augLevels: levels, training: true, dtype: options.dtype)
    return try loss.loss(output: output, prepared)
  }

  // MARK: - Several processes

  private var isFirst: Bool { share.rank == 0 }

  /// Whether one of the processes is asked to stop. Sets the run's clock by the first one's: the learning rate and the end follow from it.
  private func agree(toStop wanted: Bool) throws -> Bool {
    guard let processes else { return wanted }
    let agreement = try keepingTheRun { try processes.agree(toStop: wanted, seconds: state.seconds) }
    state.seconds = agreement.seconds
    return agreement.stops
  }

  /// Of all that decides the steps.
  private func fingerprint(_ source: any PixelSource, _ redrawn: RedrawnInputs?) throws -> UInt64 {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    var hash = FNV1a()
    hash.combine(try encoder.encode(recipe))
    hash.combine(try encoder.encode(network.configuration))
    hash.combine("\(setting.name) \(source.count) \(redrawn?.count ?? 0) \(state.step) \(state.examples)".utf8)
    hash.combine("\(options.maxSteps ?? 0) \(options.maxMinutes ?? 0) \(options.dtype)".utf8)
    // A checkpoint's or an --init file's small tensors tell it from any other.
    for parameter in parameters where parameter.shape.count == 1 { hash.combine(try parameter.bytes()) }
    return hash.value
  }

  // MARK: - Files

  private func openData() throws(TrainingError) -> any PixelSource {
    let folder = try DataFolder(root: options.data, labels: setting.labels)
    if let note = folder.leftOutNote { report(note) }
    // 12,000 images: 37 MB at 32x32, 147 MB at 64x64, but 2.4 GB at 256x256.
    guard setting.resolution > 64 else {
      return try CachedSource(
        folder: folder, side: setting.resolution, path: "\(options.out)/pixels-\(setting.resolution).cache", report: report)
    }
    return try DecodingSource(
      folder: folder, side: setting.resolution, path: "\(options.out)/unreadable-\(setting.resolution).json", report: report)
  }

  private func openRedrawn(_ source: any PixelSource) throws(TrainingError) -> RedrawnInputs? {
    guard let root = options.redrawn else { return nil }
    guard let side = setting.lowResolution else {
      throw TrainingError(.options, "\(setting.name) has no low-resolution input: leave --redrawn out")
    }
    let inputs = try RedrawnInputs(
      root: root, labels: setting.labels, side: side, path: "\(options.out)/redrawn-\(side).cache", report: report)
    let found = (0..<source.count).count { inputs.has(source.path($0)) }
    guard found > 0 else {
      throw TrainingError(.data, "\(root): no file there has the class and name of one in \(options.data); 'weir-lab redraw' makes such")
    }
    report("\(found) of \(source.count) images have an input in \(root)")
    return inputs
  }

  /// Writes a checkpoint, the plots and, if asked for, the averaged weights; of several processes the first one does.
  package func save() throws {
    guard isFirst else { return }
    var tensors = network.parameters.map { ("model." + $0.name, $0.tensor) }
    tensors += average.parameters.map { ("average." + $0.name, $0.tensor) }
    tensors += try optimizer.state().map { ("adamw." + $0.0, $0.1) }
    try checkpoints.save(state, tensors: tensors)
    for (name, svg) in MetricsPlots(title: "\(setting.name), step \(state.step)", lines: MetricsLog.read("\(options.out)/metrics.jsonl"))
      .files
    {
      try RunFile.write(Array(svg.utf8), to: "\(options.out)/\(name)")
    }
    if let path = options.export {
      try Weights.export(
        average.parameters,
        metadata: ["stage": setting.name, "steps": "\(state.step)", "examples": "\(state.examples)", "format": "pt"], to: path)
    }
  }

  private func restore() throws {
    let (stored, file) = try checkpoints.load(report: report)
    guard stored.stage == setting.name else {
      throw TrainingError(
        .checkpoint, "\(checkpoints.newest): is of the stage \(stored.stage), not of \(setting.name); give the right --out")
    }
    guard stored.seed == recipe.seed else {
      throw TrainingError(
        .checkpoint, "\(checkpoints.newest): the run has --seed \(stored.seed), not \(recipe.seed): its data order follows from it")
    }
    try Weights.load(file, prefix: "model.", path: checkpoints.newest, into: network.parameters)
    try Weights.load(file, prefix: "average.", path: checkpoints.newest, into: average.parameters)
    var moments: [String: Tensor] = [:]
    for name in file.names where name.hasPrefix("adamw.") {
      moments[String(name.dropFirst("adamw.".count))] = try file.tensor(named: name)
    }
    try optimizer.load(moments)
    state = stored
  }

  private func drawSamples(_ source: any PixelSource) throws {
    let sheet = SampleSheet(setting: setting, network: average, dtype: options.dtype)
    let image = try Torch.inferenceMode { try sheet.draw(source) }
    try RunFile.write(image.png(), to: "\(options.out)/grid-\(state.step).png")
  }
}

/// What happened since the last line of a log.
private struct Interval {
  let start: ContinuousClock.Instant
  /// Training time at the start.
  let seconds: Double
  private var losses = 0.0
  private var norms = 0.0
  private var rate = 0.0
  private var steps = 0

  init(start: ContinuousClock.Instant, seconds: Double) {
    self.start = start
    self.seconds = seconds
  }

  mutating func add(_ result: Trainer.StepResult) {
    losses += result.loss
    norms += result.gradNorm
    rate = result.learningRate
    steps += 1
  }

  func secondsPerStep(_ state: RunState) -> Double {
    (state.seconds - seconds) / Double(max(steps, 1))
  }

  func line(_ state: RunState, _ share: StepShare) -> MetricsLog.Line {
    let n = Double(max(steps, 1))
    return MetricsLog.Line(
      step: state.step, samples: state.examples, loss: losses / n, gradNorm: norms / n, lr: rate,
      samplesPerSecond: Double(share.examples) / max(secondsPerStep(state), 1e-9), seconds: state.seconds)
  }

  func progress(_ state: RunState, _ share: StepShare, timeLeft: Double?) -> String {
    let line = line(state, share)
    let numbers = String(
      format: "step %d  loss %.4f  grad %.2f  lr %.1e  %.1f samples/s", state.step, line.loss, line.gradNorm, line.lr, line.samplesPerSecond
    )
    return numbers + (timeLeft.map { "  \(Self.duration($0)) left" } ?? "  \(Self.duration(state.seconds)) so far")
  }

  static func duration(_ seconds: Double) -> String {
    let total = Int(seconds.rounded())
    return total < 3600
      ? String(format: "%d:%02d", total / 60, total % 60) : String(format: "%d:%02d:%02d", total / 3600, total / 60 % 60, total % 60)
  }
}
