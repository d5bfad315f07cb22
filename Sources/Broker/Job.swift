import Wire

/// One image on its way through the stages.
struct Sample {
  enum Phase: UInt8 { case waiting, leased, done, failed, cancelled }

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
  var inputBytes: UInt64 { outcomes.last?.bytes ?? 0 }

  init(_ seed: SampleSeed) {
    self.label = seed.label
    self.seed = seed.seed
  }
}

/// A job and its samples. Samples change only through the methods here, which keep the tallies true.
struct Job {
  struct StageTally: Hashable {
    var waiting: UInt32 = 0
    var leased: UInt32 = 0
    var done: UInt32 = 0
    var failed: UInt32 = 0
    var stepsDone: UInt64 = 0
  }

  let id: JobID
  let sequence: UInt64
  let pipeline: PipelineTable.Key
  let key: String
  let options: [StageOptions]
  let truncated: Bool
  let submittedUnixMilliseconds: UInt64
  private(set) var samples: [Sample]
  private(set) var tallies: [StageTally]
  private(set) var ending: JobEnding?
  /// Samples that are neither finished nor given up.
  private(set) var openSamples: Int
  /// Stages that open samples still have before them.
  private(set) var openTasks: Int
  private(set) var hasStarted = false

  var stageCount: Int { options.count }

  /// Bytes of the tensors that stay on disk once the job is finished.
  var keptBytes: UInt64 {
    samples.reduce(0) { $1.phase == .done ? $0 + $1.inputBytes : $0 }
  }

  init(_ record: JobRecord, pipeline: PipelineTable.Key) {
    id = record.id
    sequence = record.sequence
    self.pipeline = pipeline
    key = record.key
    options = record.options
    truncated = record.truncated
    submittedUnixMilliseconds = record.submittedUnixMilliseconds
    samples = record.samples.map(Sample.init)
    tallies = Array(repeating: StageTally(), count: record.options.count)
    openSamples = samples.count
    openTasks = samples.count * record.options.count
    tallies[0].waiting = UInt32(samples.count)
  }

  /// Rebuilds a job from disk. Samples that were leased are `leased` again.
  init(_ snapshot: JobSnapshot, pipeline: PipelineTable.Key) {
    self.init(snapshot.record, pipeline: pipeline)
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
        } else if saved.isLeased {
          tallies[samples[index].stage].waiting -= 1
          tallies[samples[index].stage].leased += 1
          samples[index].phase = .leased
        }
      }
      if saved.attempt > 0 || !saved.outcomes.isEmpty { hasStarted = true }
    }
    if let ending = snapshot.ending { end(ending) }
  }

  func steps(ofStage stage: Int) -> UInt32 { options[stage].steps ?? 0 }

  /// Begins the next attempt.
  mutating func lease(_ index: Int) {
    samples[index].attempt &+= 1
    resumeLease(index)
  }

  /// The attempt was thought over, but goes on.
  mutating func resumeLease(_ index: Int) {
    let stage = samples[index].stage
    tallies[stage].waiting -= 1
    tallies[stage].leased += 1
    samples[index].phase = .leased
    hasStarted = true
  }

  /// Ends the attempt; the sample waits again, at its last checkpoint.
  mutating func release(_ index: Int, failures: UInt32) {
    let stage = samples[index].stage
    tallies[stage].leased -= 1
    tallies[stage].waiting += 1
    samples[index].phase = .waiting
    samples[index].failures = failures
    setStep(index, samples[index].checkpoint?.step ?? 0)
  }

  mutating func setStep(_ index: Int, _ step: UInt32) {
    let stage = samples[index].stage
    let step = min(step, steps(ofStage: stage))
    tallies[stage].stepsDone = tallies[stage].stepsDone - UInt64(samples[index].step) + UInt64(step)
    samples[index].step = step
  }

  mutating func setCheckpoint(_ index: Int, _ checkpoint: CheckpointRecord?) {
    samples[index].checkpoint = checkpoint
  }

  mutating func setFailures(_ index: Int, _ failures: UInt32) {
    samples[index].failures = failures
  }

  /// Moves an open sample to its next stage, or to its end.
  mutating func finishStage(_ index: Int, _ outcome: StageOutcome) {
    let stage = samples[index].stage
    setStep(index, steps(ofStage: stage))
    leaveStage(index)
    tallies[stage].done += 1
    openTasks -= 1
    samples[index].outcomes.append(outcome)
    samples[index].step = 0
    samples[index].attempt = 0
    samples[index].failures = 0
    samples[index].checkpoint = nil
    if stage + 1 < stageCount {
      samples[index].phase = .waiting
      tallies[stage + 1].waiting += 1
    } else {
      samples[index].phase = .done
      openSamples -= 1
    }
  }

  mutating func fail(_ index: Int, _ reason: String) {
    samples[index].error = reason
    close(index, as: .failed)
  }

  /// Ends the job. Samples that are still open are cancelled.
  mutating func end(_ ending: JobEnding) {
    for index in samples.indices where samples[index].phase == .waiting || samples[index].phase == .leased {
      close(index, as: .cancelled)
    }
    self.ending = ending
  }

  private mutating func leaveStage(_ index: Int) {
    let stage = samples[index].stage
    if samples[index].phase == .leased { tallies[stage].leased -= 1 } else { tallies[stage].waiting -= 1 }
  }

  private mutating func close(_ index: Int, as phase: Sample.Phase) {
    leaveStage(index)
    if phase == .failed { tallies[samples[index].stage].failed += 1 }
    openTasks -= stageCount - samples[index].stage
    openSamples -= 1
    samples[index].phase = phase
    samples[index].checkpoint = nil
  }

  var state: JobState {
    ending?.state ?? (hasStarted ? .running : .queued)
  }

  /// How it ends if every sample is finished or given up.
  var naturalEnd: JobState {
    tallies.contains { $0.failed > 0 } ? .failed : .done
  }
}
