import Wire

/// One image on its way through the stages.
struct Sample {
  /// `held`: it waits to be released.
  enum Phase: UInt8 { case waiting, leased, done, failed, cancelled, held }

  let label: UInt32
  let seed: UInt64
  var phase = Phase.waiting
  /// Steps finished of the current stage.
  var step: UInt32 = 0
  /// The last attempt of the current stage; 0: none yet.
  var attempt: UInt32 = 0
  /// Failures in a row without progress.
  var failures: UInt32 = 0
  var checkpoint: CheckpointRecord?
  var outcomes: [StageOutcome] = []
  var error: String?

  var stage: Int { outcomes.count }
  var isOpen: Bool { phase == .waiting || phase == .leased || phase == .held }
  var inputBytes: UInt64 { outcomes.last?.bytes ?? 0 }

  init(_ seed: SampleSeed) {
    self.label = seed.label
    self.seed = seed.seed
  }
}

/// A job and its samples. Samples change only through the methods here, which keep the tallies true.
///
/// One object, known to one table: every message about a task asks for it, and it is changed in place.
final class Job {
  struct StageTally: Hashable {
    var waiting: UInt32 = 0
    var leased: UInt32 = 0
    var done: UInt32 = 0
    var failed: UInt32 = 0
    var held: UInt32 = 0
    var stepsDone: UInt64 = 0
    /// Of these, the ones of open samples that are in the stage.
    var openSteps: UInt64 = 0
  }

  let id: JobID
  let sequence: UInt64
  let pipeline: PipelineTable.Key
  let key: String
  let options: [StageOptions]
  let truncated: Bool
  let submittedUnixMilliseconds: UInt64
  let terms: JobTerms
  /// On the monotonic clock; `.max`: none.
  let deadline: Int64
  /// Samples wait after their `terms.holdAfter`.
  private(set) var isHolding: Bool
  private(set) var samples: [Sample]
  private(set) var tallies: [StageTally]
  private(set) var ending: JobEnding?
  /// Samples that are neither finished nor given up.
  private(set) var openSamples: Int
  /// Stages that open samples still have before them.
  private(set) var openTasks: Int
  private(set) var hasStarted = false
  /// What the backlog counts of it, by stage. Kept by the table of jobs.
  var counted: [Backlog.Work]

  var stageCount: Int { options.count }
  var share: Share { Share(priority: terms.priority, tenant: terms.tenant) }

  /// Bytes of the tensors that stay on disk once the job is finished.
  var keptBytes: UInt64 {
    samples.reduce(0) { $1.phase == .done ? $0 + $1.inputBytes : $0 }
  }

  /// - Parameter deadline: on the monotonic clock; `.max`: none.
  init(_ record: JobRecord, pipeline: PipelineTable.Key, deadline: Int64 = .max) {
    id = record.id
    sequence = record.sequence
    self.pipeline = pipeline
    key = record.key
    options = record.options
    truncated = record.truncated
    submittedUnixMilliseconds = record.submittedUnixMilliseconds
    terms = record.terms
    self.deadline = deadline
    isHolding = record.terms.holdAfter != nil
    counted = Array(repeating: Backlog.Work(), count: record.options.count)
    samples = record.samples.map(Sample.init)
    tallies = Array(repeating: StageTally(), count: record.options.count)
    openSamples = samples.count
    openTasks = samples.count * record.options.count
    tallies[0].waiting = UInt32(samples.count)
  }

  /// Rebuilds a job from disk. Samples that were leased are `leased` again.
  convenience init(_ snapshot: JobSnapshot, pipeline: PipelineTable.Key, deadline: Int64 = .max) {
    self.init(snapshot.record, pipeline: pipeline, deadline: deadline)
    if snapshot.isChosen { isHolding = false }
    for (index, saved) in zip(samples.indices, snapshot.samples) {
      for outcome in saved.outcomes { finishStage(index, outcome) }
      samples[index].attempt = saved.attempt
      samples[index].failures = saved.failures
      samples[index].checkpoint = saved.checkpoint
      samples[index].error = saved.error
      if samples[index].phase == .waiting {
        setStep(index, saved.checkpoint?.step ?? 0)
        if saved.error != nil {
          close(index, as: .failed)
        } else if saved.isCancelled {
          close(index, as: .cancelled)
        } else if saved.isLeased {
          tallies[samples[index].stage].waiting -= 1
          tallies[samples[index].stage].leased += 1
          samples[index].phase = .leased
        }
      } else if samples[index].phase == .held, saved.isCancelled {
        close(index, as: .cancelled)
      }
      if saved.attempt > 0 || !saved.outcomes.isEmpty { hasStarted = true }
    }
    if let ending = snapshot.ending { end(ending) }
  }

  func steps(ofStage stage: Int) -> UInt32 { options[stage].steps ?? 0 }

  /// Passes through a stage's network that a sample has before it after `step` steps of the stage.
  func passes(ofStage stage: Int, after step: UInt32) -> Int {
    let steps = steps(ofStage: stage)
    return Int(steps - min(step, steps)) * options[stage].passesOfStep
  }

  /// Begins the next attempt.
  func lease(_ index: Int) {
    samples[index].attempt &+= 1
    resumeLease(index)
  }

  /// The attempt was thought over, but goes on.
  func resumeLease(_ index: Int) {
    let stage = samples[index].stage
    tallies[stage].waiting -= 1
    tallies[stage].leased += 1
    samples[index].phase = .leased
    hasStarted = true
  }

  /// Ends the attempt; the sample waits again, at its last checkpoint.
  func release(_ index: Int, failures: UInt32) {
    let stage = samples[index].stage
    tallies[stage].leased -= 1
    tallies[stage].waiting += 1
    samples[index].phase = .waiting
    samples[index].failures = failures
    setStep(index, samples[index].checkpoint?.step ?? 0)
  }

  func setStep(_ index: Int, _ step: UInt32) {
    let stage = samples[index].stage
    let step = min(step, steps(ofStage: stage))
    tallies[stage].stepsDone = tallies[stage].stepsDone - UInt64(samples[index].step) + UInt64(step)
    tallies[stage].openSteps = tallies[stage].openSteps - UInt64(samples[index].step) + UInt64(step)
    samples[index].step = step
  }

  func setCheckpoint(_ index: Int, _ checkpoint: CheckpointRecord?) {
    samples[index].checkpoint = checkpoint
  }

  func setFailures(_ index: Int, _ failures: UInt32) {
    samples[index].failures = failures
  }

  /// Whether samples that leave the stage wait for a worker of the next one at once.
  func goesOn(after stage: Int) -> Bool {
    stage + 1 < stageCount && !(isHolding && terms.holdAfter == UInt32(stage))
  }

  /// Moves an open sample to its next stage, or to its end.
  func finishStage(_ index: Int, _ outcome: StageOutcome) {
    let stage = samples[index].stage
    setStep(index, steps(ofStage: stage))
    leaveStage(index)
    tallies[stage].done += 1
    openTasks -= 1
    samples[index].outcomes.append(outcome)
    samples[index].step = 0
    samples[index].attempt = stage + 1 < stageCount ? AttemptNumber.none(asIn: samples[index].attempt) : 0
    samples[index].failures = 0
    samples[index].checkpoint = nil
    if goesOn(after: stage) {
      samples[index].phase = .waiting
      tallies[stage + 1].waiting += 1
    } else if stage + 1 < stageCount {
      samples[index].phase = .held
      tallies[stage + 1].held += 1
    } else {
      samples[index].phase = .done
      openSamples -= 1
    }
  }

  /// Begins an open sample anew, from its first stage.
  func restart(_ index: Int, after attempt: UInt32) {
    setStep(index, 0)
    leaveStage(index)
    for stage in 0..<samples[index].stage {
      tallies[stage].done -= 1
      tallies[stage].stepsDone -= UInt64(steps(ofStage: stage))
    }
    openTasks += samples[index].stage
    samples[index] = Sample(SampleSeed(label: samples[index].label, seed: samples[index].seed))
    samples[index].attempt = attempt
    tallies[0].waiting += 1
  }

  func fail(_ index: Int, _ reason: String) {
    samples[index].error = reason
    close(index, as: .failed)
  }

  /// Ends the job. Samples that are still open are cancelled.
  func end(_ ending: JobEnding) {
    for index in samples.indices where samples[index].isOpen { close(index, as: .cancelled) }
    self.ending = ending
  }

  /// Lets samples go on, and cancels the other open ones.
  ///
  /// - Returns: those that wait for a worker now, and those that were cancelled.
  func choose(_ keep: Set<UInt32>) -> (waiting: [Int], cancelled: [Int]) {
    isHolding = false
    var waiting: [Int] = []
    var cancelled: [Int] = []
    for index in samples.indices where samples[index].isOpen {
      if !keep.contains(UInt32(index)) {
        close(index, as: .cancelled)
        // As the disk has it.
        samples[index].attempt = 0
        samples[index].failures = 0
        cancelled.append(index)
      } else if samples[index].phase == .held {
        tallies[samples[index].stage].held -= 1
        tallies[samples[index].stage].waiting += 1
        samples[index].phase = .waiting
        waiting.append(index)
      }
    }
    return (waiting, cancelled)
  }

  /// A sample that had failed waits again.
  func retry(_ index: Int) {
    let stage = samples[index].stage
    tallies[stage].failed -= 1
    tallies[stage].waiting += 1
    samples[index].phase = .waiting
    samples[index].error = nil
    samples[index].failures = 0
    openSamples += 1
    openTasks += stageCount - stage
    tallies[stage].openSteps += UInt64(samples[index].step)
    setStep(index, 0)
    ending = nil
  }

  /// What there is to do in a stage.
  func work(inStage stage: Int) -> Backlog.Work {
    var coming = 0
    // What comes after the hold depends on what is chosen.
    if !isHolding || stage <= terms.holdAfter.map(Int.init) ?? stage {
      for stage in 0...stage { coming += Int(tallies[stage].waiting + tallies[stage].leased) }
    }
    return Backlog.Work(
      waiting: Int(tallies[stage].waiting), leased: Int(tallies[stage].leased),
      passes: coming * options[stage].passes - Int(tallies[stage].openSteps) * options[stage].passesOfStep)
  }

  private func leaveStage(_ index: Int) {
    let stage = samples[index].stage
    switch samples[index].phase {
    case .leased: tallies[stage].leased -= 1
    case .held: tallies[stage].held -= 1
    default: tallies[stage].waiting -= 1
    }
    tallies[stage].openSteps -= UInt64(samples[index].step)
  }

  private func close(_ index: Int, as phase: Sample.Phase) {
    leaveStage(index)
    if phase == .failed { tallies[samples[index].stage].failed += 1 }
    openTasks -= stageCount - samples[index].stage
    openSamples -= 1
    samples[index].phase = phase
    samples[index].checkpoint = nil
  }

  var state: JobState {
    if let ending { return ending.state }
    if openSamples > 0, tallies.reduce(0, { $0 + Int($1.held) }) == openSamples { return .held }
    return hasStarted ? .running : .queued
  }

  /// How it ends if every sample is finished or given up.
  var naturalEnd: JobState {
    tallies.contains { $0.failed > 0 } ? .failed : tallies.last?.done == 0 ? .cancelled : .done
  }
}
