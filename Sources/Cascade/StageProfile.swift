import Tensors

/// What steps of a stage cost on a machine: time, by the number of samples stepped together, and memory.
package struct StageProfile: Hashable, Sendable {
  /// One batch size.
  package struct Timing: Hashable, Sendable, Codable {
    package let batch: Int
    /// Of the whole batch: the shortest step that was seen.
    package let stepMilliseconds: Double

    package init(batch: Int, stepMilliseconds: Double) {
      self.batch = batch
      self.stepMilliseconds = stepMilliseconds
    }

    package var millisecondsPerSample: Double { stepMilliseconds / Double(batch) }

    private enum CodingKeys: String, CodingKey {
      case batch
      case stepMilliseconds = "step_ms"
    }
  }

  /// In bytes.
  package struct Memory: Hashable, Sendable, Codable {
    /// Of a sample while it is computed.
    package let computing: Int
    /// Of a sample that holds a slot, at any time.
    package let held: Int
    /// Samples that are computed at a time, however large the batch.
    package let lanes: Int

    package init(computing: Int, held: Int, lanes: Int) {
      self.computing = computing
      self.held = held
      self.lanes = lanes
    }

    /// The largest batch that fits into `bytes`.
    package func largestBatch(in bytes: Int) -> Int {
      let few = bytes / max(1, computing + held)
      return few < lanes ? few : (bytes - lanes * computing) / max(1, held)
    }
  }

  /// Each batch size once, ascending; at least one.
  package let timings: [Timing]
  package let memory: Memory
  /// While it was measured: of the time in which its threads could have computed, the part in which others had the processors, from 0 to 1;
  /// `nil`: the system doesn't say.
  package let waited: Double?

  /// - Parameter timings: in any order.
  package init(timings: [Timing], memory: Memory, waited: Double? = nil) {
    self.timings = timings.sorted { $0.batch < $1.batch }
    self.memory = memory
    self.waited = waited
  }

  /// Whether what else the machine did shows in the timings more than a choice between them allows.
  var isDisturbed: Bool { (waited ?? 0) > ProfilePlan.tolerance }

  /// For the log.
  var disturbance: String { "measured while others had the processors for \(Int((waited ?? 0) * 100)) % of the time" }

  /// Of a sample's step, in the batch in which it takes the least.
  package var leastMillisecondsPerSample: Double { timings.map(\.millisecondsPerSample).min() ?? .infinity }
}

/// Which batch sizes are worth timing.
struct ProfilePlan {
  /// Of a batch size that is to count as faster, by part of the time a sample takes.
  static let tolerance = 0.05
  static let largestBatch = 256

  /// How many samples the stage computes at a time.
  let lanes: Int
  /// The largest batch there is memory for.
  let most: Int
  let limit: Duration

  /// One sample, as many as are computed at a time, then what lies between and beyond.
  private var sizes: [Int] {
    let powers = (1...8).map { 1 << $0 }
    return [1] + ([lanes] + powers.filter { $0 != lanes }).filter { $0 > 1 && $0 <= min(most, Self.largestBatch) }
  }

  /// - Parameters:
  ///   - timings: in the order they were taken.
  ///   - elapsed: since the beginning.
  /// - Returns: `nil`: enough is known.
  func next(after timings: [StageProfile.Timing], elapsed: Duration) -> Int? {
    guard timings.count < sizes.count else { return nil }
    let size = sizes[timings.count]
    // These two are taken whatever the time: with less, processors could be left idle for good.
    guard timings.count >= 2 else { return size }
    let times = timings.map(\.millisecondsPerSample)
    // Beyond what is computed at a time it only gets slower once it doesn't get faster.
    if let last = timings.last, last.batch > lanes, let before = times.dropLast().min(),
      last.millisecondsPerSample > before * (1 - Self.tolerance)
    {
      return nil
    }
    let expected = Duration.milliseconds((times.min() ?? 0) * Double(size))
    return elapsed + expected <= limit ? size : nil
  }
}

extension StageProfile {
  /// How long all of it may take, but for a step of one sample and one of as many as are computed at a time.
  package static let limit = Duration.seconds(2)
  /// Images of the stage's size that a task in a slot amounts to: its state and history, what goes into the network and comes out, its input,
  /// checkpoint and result as they were received and are sent.
  private static let imagesHeld = 10

  /// Steps samples of the stage in batches of several sizes.
  ///
  /// - Parameter freeBytes: no batch is tried that would need more; `nil`: memory is no object.
  package static func measure(
    _ engine: StageEngine, limit: Duration = Self.limit, freeBytes: Int? = nil
  ) throws(CascadeError) -> StageProfile {
    let clock = ContinuousClock()
    let start = clock.now
    let stage = engine.pipeline.manifest.stages[engine.stage]
    var samples = try ExampleSamples(engine, steps: stage.schedule.steps)
    func step(_ count: Int) throws(CascadeError) -> Duration {
      let runs = try samples.next(count)
      let start = clock.now
      try engine.advance(runs)
      return clock.now - start
    }
    // The first step prepares what is prepared once, and is not timed. One sample is computed by this thread, which is the one that is metered.
    let computing = try Torch.peakMemory { () throws(CascadeError) in try step(1) }.bytes
    let memory = Memory(computing: computing, held: imagesHeld * 3 * stage.resolution * stage.resolution * 4, lanes: engine.threads)
    let plan = ProfilePlan(lanes: engine.threads, most: freeBytes.map(memory.largestBatch) ?? .max, limit: limit)
    let before = ProcessorTime.now()
    var timings: [Timing] = []
    while let size = plan.next(after: timings, elapsed: clock.now - start) {
      timings.append(Timing(batch: size, stepMilliseconds: try step(size) / .milliseconds(1)))
    }
    // What else the machine does comes and goes: all sizes by turns, and of each the shortest step.
    while clock.now - start + .milliseconds(timings.reduce(0) { $0 + $1.stepMilliseconds }) < limit {
      for (index, timing) in timings.enumerated() {
        let milliseconds = try step(timing.batch) / .milliseconds(1)
        timings[index] = Timing(batch: timing.batch, stepMilliseconds: min(timing.stepMilliseconds, milliseconds))
      }
    }
    // More threads than processors wait for each other.
    let after = engine.threads <= Processor.count ? ProcessorTime.now() : nil
    return StageProfile(timings: timings, memory: memory, waited: before.flatMap { after?.waitedPart(since: $0) })
  }
}
