import Wire

/// The tasks in a worker's slots and those that wait for one; what the compute thread does between and in its steps.
package struct Batch {
  private struct Running {
    var task: TaskRef
    var run: any TaskRun
    var computeMilliseconds: Double
    var checkpointAsked = false
  }

  private let engine: any Engine
  private let slots: Int
  private let batching: Batching
  private let report: (ComputeEvent) -> Void
  private let now: () -> Duration
  private let results: ResultThread?
  private var waiting: [Assignment] = []
  private var running: [Running] = []
  private var isDrained = false

  /// - Parameters:
  ///   - slots: how many tasks are stepped together; more wait their turn.
  ///   - batching: when those that wait get the slots that are free.
  ///   - now: the time, by which steps are measured.
  ///   - results: makes results of finished tasks; `nil`: they are made before the next step.
  ///   - report: called in `obey` and `step`, and of results by who makes them. `drained` comes after all results.
  package init(
    engine: any Engine, slots: Int, batching: Batching = .step, now: @escaping () -> Duration = monotonicClock(),
    results: ResultThread? = nil, report: @escaping (ComputeEvent) -> Void
  ) {
    self.engine = engine
    self.slots = slots
    self.batching = batching
    self.now = now
    self.results = results
    self.report = report
  }

  /// Nothing to compute until a command comes.
  package var isIdle: Bool { waiting.isEmpty && running.isEmpty }

  /// Tasks by slots.
  var load: Double { Double(waiting.count + running.count) / Double(slots) }

  package mutating func obey(_ command: ComputeCommand) {
    switch command {
    case .start(let assignment):
      if !isDrained { waiting.append(assignment) }
    case .drop(let task):
      let before = waiting.count + running.count
      waiting.removeAll { $0.task == task }
      running.removeAll { $0.task == task }
      if waiting.count + running.count < before { report(.dropped(task)) }
    case .checkpoint(let task):
      if let index = running.firstIndex(where: { $0.task == task }) { running[index].checkpointAsked = true }
    case .drain:
      isDrained = true
      waiting = []
      for one in running { sendCheckpoint(one) }
      running = []
      results?.wait()
      report(.drained)
    }
  }

  /// Fills the slots that may be filled and takes one step of everything in them.
  package mutating func step() {
    if batching == .step || running.isEmpty {
      while running.count < slots, !waiting.isEmpty { begin(waiting.removeFirst()) }
    }
    let started = now()
    let failures = advance()
    let milliseconds = (now() - started) / .milliseconds(1) / Double(max(running.reduce(0) { $0 + $1.run.passes }, 1))
    for (task, error) in failures {
      running.removeAll { $0.task == task }
      fail(task, error)
    }
    for index in running.indices { running[index].computeMilliseconds += milliseconds * Double(running[index].run.passes) }
    if !running.isEmpty {
      report(
        .stepped(running.map { TaskProgress($0.task, step: UInt32(clamping: $0.run.step)) }, stepMilliseconds: milliseconds))
    }
    for index in running.indices where running[index].checkpointAsked {
      running[index].checkpointAsked = false
      // A finished task reports its result instead.
      if running[index].run.step < running[index].run.steps { sendCheckpoint(running[index]) }
    }
    for one in running where one.run.step >= one.run.steps { finish(one) }
    running.removeAll { $0.run.step >= $0.run.steps }
  }

  private mutating func begin(_ assignment: Assignment) {
    do {
      let one = Running(task: assignment.task, run: try engine.begin(assignment), computeMilliseconds: 0)
      // A checkpoint may have been made after the last step.
      if one.run.step >= one.run.steps { finish(one) } else { running.append(one) }
    } catch {
      fail(assignment.task, error)
    }
  }

  /// Steps everything together. If that fails, each alone, so that one bad task does not take the others with it.
  private func advance() -> [(TaskRef, any Error)] {
    guard !running.isEmpty else { return [] }
    do {
      try engine.advance(running.map(\.run))
      return []
    } catch {
      guard running.count > 1 else { return [(running[0].task, error)] }
      var failures: [(TaskRef, any Error)] = []
      for one in running {
        do { try engine.advance([one.run]) } catch { failures.append((one.task, error)) }
      }
      return failures
    }
  }

  private func sendCheckpoint(_ one: Running) {
    // Without this one the task would start from an older state, which is worth no failure.
    if let checkpoint = try? one.run.checkpoint() { report(.checkpoint(one.task, checkpoint)) }
  }

  private func finish(_ one: Running) {
    let report = report
    let make = { report(Self.result(of: one)) }
    if let results { results.perform(make) } else { make() }
  }

  private static func result(of one: Running) -> ComputeEvent {
    do {
      let tensor = try one.run.result()
      let result = TaskResult(
        task: one.task, digest: tensor.digest, computeMilliseconds: one.computeMilliseconds, checksum: tensor.checksum, tensor: tensor)
      return .finished(result, steps: UInt32(clamping: one.run.steps))
    } catch {
      return failure(one.task, error)
    }
  }

  private func fail(_ task: TaskRef, _ error: any Error) { report(Self.failure(task, error)) }

  private static func failure(_ task: TaskRef, _ error: any Error) -> ComputeEvent {
    .failed(task, reason: String(describing: error), permanent: (error as? EngineError)?.code == .invalidTask)
  }
}

/// A clock that begins now.
package func monotonicClock() -> () -> Duration {
  let start = ContinuousClock.now
  return { start.duration(to: .now) }
}
