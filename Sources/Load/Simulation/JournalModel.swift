package import Broker
package import Wire

/// What a journal does, without a disk: records go in, a snapshot and tensors come out. It also sees to it that records make sense.
package struct JournalModel {
  package private(set) var pipelines: [PipelineInfo] = []
  package private(set) var jobs: [JobID: JobSnapshot] = [:]
  package private(set) var outputs: [TensorKey: WireTensor] = [:]
  /// Drafts that were done and not written.
  package private(set) var unwritten: [TensorKey: WireTensor] = [:]
  package private(set) var checkpoints: [TaskID: [WireTensor]] = [:]
  package private(set) var forgotten: Set<JobID> = []
  /// By the last bits of their number: a journal remembers the last sixteen of a stage.
  package private(set) var attempts: [TaskRef: Attempt] = [:]
  package private(set) var quarantined: [QuarantineRecord] = []
  package private(set) var stagesDone = 0
  /// Records that cannot follow from those before them.
  package private(set) var faults: [String] = []

  package init() {}

  package var snapshot: Snapshot {
    Snapshot(pipelines: pipelines, jobs: jobs.values.sorted { $0.record.sequence < $1.record.sequence }, quarantined: quarantined)
  }

  /// Stages still to be done, over all samples of all jobs.
  package var openTasks: Int { openTasks { _ in true } }

  /// The same of one tenant's jobs.
  package func openTasks(of tenant: String) -> Int { openTasks { $0.record.terms.tenant == tenant } }

  private func openTasks(where isMeant: (JobSnapshot) -> Bool) -> Int {
    jobs.values.filter { $0.ending == nil && isMeant($0) }.reduce(0) { total, job in
      job.samples.reduce(total) { $0 + ($1.error == nil && !$1.isCancelled ? job.record.options.count - $1.outcomes.count : 0) }
    }
  }

  /// The sample, if it is open and in the task's stage.
  package func openSample(_ task: TaskID) -> SampleSnapshot? {
    guard let job = jobs[task.job], job.ending == nil, Int(task.sample) < job.samples.count else { return nil }
    let sample = job.samples[Int(task.sample)]
    return sample.error == nil && !sample.isCancelled && sample.outcomes.count == Int(task.stage) ? sample : nil
  }

  package mutating func apply(_ record: Record) {
    switch record {
    case .pipeline(let info):
      expect(!pipelines.contains { $0.digest == info.digest }, "pipeline \(info.name) was known")
      pipelines.append(info)
    case .pipelineForgotten(let digest):
      expect(!jobs.values.contains { $0.record.pipeline == digest }, "a forgotten pipeline has jobs")
      pipelines.removeAll { $0.digest == digest }
    case .accepted(let job):
      expect(jobs[job.id] == nil && !forgotten.contains(job.id), "job \(job.id) was there")
      let sameKey = jobs.values.contains { $0.record.key == job.key && $0.record.terms.tenant == job.terms.tenant }
      expect(job.key.isEmpty || !sameKey, "one key, two jobs: \(job.key) of \(job.terms.tenant)")
      jobs[job.id] = JobSnapshot(record: job, samples: job.samples.map { _ in SampleSnapshot() })
    case .leased(let ref): lease(ref)
    case .released(let task, let failures):
      change(task) {
        $0.failures = failures
        $0.isLeased = false
      }
    case .failuresCounted(let task, let failures):
      change(task) { $0.failures = failures }
    case .checkpoint(let task, let checkpoint, let tensors):
      expect(openSample(task)?.isLeased == true, "a checkpoint of \(task), which nobody has")
      change(task) {
        $0.failures = 0
        $0.checkpoint = checkpoint
      }
      checkpoints[task] = tensors
    case .checkpointDropped(let task):
      change(task) { $0.checkpoint = nil }
      checkpoints[task] = nil
    case .stageDone(let task, let outcome, let output):
      finish(task, outcome)
      outputs[TensorKey(job: task.job, sample: task.sample, stage: task.stage)] = output
    case .draftDone(let task, let outcome, let output):
      finish(task, outcome)
      unwritten[TensorKey(job: task.job, sample: task.sample, stage: task.stage)] = output
    case .draftKept(let task, _, let output):
      let key = TensorKey(job: task.job, sample: task.sample, stage: task.stage)
      expect(unwritten.removeValue(forKey: key) == output, "the draft \(key) is kept, and was not done")
      outputs[key] = output
    case .sampleFailed(let job, let sample, let reason): fail(job, sample, reason)
    case .restarted(let ref): restart(ref)
    case .finished(let job, let state, let time):
      expect(jobs[job] != nil && jobs[job]?.ending == nil, "job \(job) ended before, or never began")
      jobs[job]?.ending = JobEnding(state: state, unixMilliseconds: time)
      if state == .cancelled || state == .expired {
        let last = UInt32((jobs[job]?.record.options.count ?? 0) - 1)
        outputs = outputs.filter { $0.key.job != job || $0.key.stage == last }
      }
      checkpoints = checkpoints.filter { $0.key.job != job }
    case .forgotten(let job):
      expect(jobs.removeValue(forKey: job)?.ending != nil, "job \(job) is forgotten before its end")
      forgotten.insert(job)
      outputs = outputs.filter { $0.key.job != job }
      unwritten = unwritten.filter { $0.key.job != job }
      attempts = attempts.filter { $0.key.task.job != job }
    case .chosen(let job, let cancelled): choose(job, cancelled)
    case .retried(let job, let tasks): retry(job, tasks)
    case .attempted(let job, let attempt):
      let task = TaskID(job: job, sample: attempt.sample, stage: attempt.stage)
      expect(jobs[job] != nil && attempt.endedUnixMilliseconds != nil, "an attempt at \(task), which is unknown or not over")
      attempts[TaskRef(task, attempt: attempt.number & 15)] = attempt
    case .quarantined(let name, let boot, let reason):
      expect(!quarantined.contains { $0.name == name && $0.boot == boot }, "worker \(name) is quarantined twice")
      quarantined.append(QuarantineRecord(name: name, boot: boot, reason: reason))
    case .pardoned(let name, let boot):
      expect(quarantined.contains { $0.name == name && $0.boot == boot }, "worker \(name) is pardoned, and was not in quarantine")
      quarantined.removeAll { $0.name == name && $0.boot == boot }
    }
  }

  /// A disk that lost some tensors.
  package mutating func damage(_ key: TensorKey) { outputs[key] = nil }
  mutating func damageCheckpoint(_ task: TaskID) { checkpoints[task] = nil }

  private mutating func lease(_ ref: TaskRef) {
    change(ref.task) { sample, faults in
      if sample.isLeased { faults.append("\(ref) is leased, and was already") }
      if ref.attempt != sample.attempt && ref.attempt != sample.attempt + 1 { faults.append("\(ref) follows attempt \(sample.attempt)") }
      sample.attempt = ref.attempt
      sample.isLeased = true
    }
  }

  private mutating func finish(_ task: TaskID, _ outcome: StageOutcome) {
    let isLast = Int(task.stage) + 1 == jobs[task.job]?.record.options.count
    change(task) {
      $0.attempt = isLast ? 0 : AttemptNumber.none(asIn: $0.attempt)
      $0.failures = 0
      $0.isLeased = false
      $0.checkpoint = nil
      $0.outcomes.append(outcome)
    }
    stagesDone += 1
    drop(task.job, task.sample)
  }

  private mutating func fail(_ job: JobID, _ sample: UInt32, _ reason: String) {
    let stage = UInt32(jobs[job]?.samples[Int(sample)].outcomes.count ?? 0)
    change(TaskID(job: job, sample: sample, stage: stage)) {
      $0.error = reason
      $0.isLeased = false
      $0.checkpoint = nil
    }
    // Its input stays, in case it is tried again.
    checkpoints = checkpoints.filter { $0.key.job != job || $0.key.sample != sample }
  }

  private mutating func restart(_ ref: TaskRef) {
    guard let sample = jobs[ref.task.job]?.samples[Int(ref.task.sample)] else {
      faults.append("\(ref) begins anew, and is unknown")
      return
    }
    expect(ref.task.stage == 0 && ref.attempt > sample.attempt, "\(ref) begins anew after attempt \(sample.attempt)")
    change(TaskID(job: ref.task.job, sample: ref.task.sample, stage: UInt32(sample.outcomes.count))) {
      $0 = SampleSnapshot(attempt: ref.attempt)
    }
    drop(ref.task.job, ref.task.sample)
  }

  private mutating func choose(_ job: JobID, _ cancelled: [UInt32]) {
    expect(jobs[job]?.isChosen == false && jobs[job]?.ending == nil, "job \(job) was chosen from before, or is over")
    jobs[job]?.isChosen = true
    for sample in cancelled {
      let outcomes = jobs[job]?.samples[Int(sample)].outcomes ?? []
      jobs[job]?.samples[Int(sample)] = SampleSnapshot(outcomes: outcomes, isCancelled: true)
      drop(job, sample)
    }
  }

  private mutating func retry(_ job: JobID, _ tasks: [TaskRef]) {
    jobs[job]?.ending = nil
    for ref in tasks {
      let sample = Int(ref.task.sample)
      expect(
        jobs[job]?.samples[sample].error != nil && jobs[job]?.samples[sample].attempt == ref.attempt,
        "\(ref) is tried again, but did not fail")
      jobs[job]?.samples[sample].error = nil
      jobs[job]?.samples[sample].failures = 0
    }
  }

  private mutating func change(_ task: TaskID, _ body: (inout SampleSnapshot) -> Void) {
    change(task) { sample, _ in body(&sample) }
  }

  private mutating func change(_ task: TaskID, _ body: (inout SampleSnapshot, inout [String]) -> Void) {
    guard openSample(task) != nil else {
      faults.append("a record of \(task), which is unknown, closed or in another stage")
      return
    }
    guard let index = jobs.index(forKey: task.job) else { return }
    body(&jobs.values[index].samples[Int(task.sample)], &faults)
  }

  private mutating func drop(_ job: JobID, _ sample: UInt32) {
    for stage in 0..<UInt32(jobs[job]?.record.options.count ?? 0) {
      outputs[TensorKey(job: job, sample: sample, stage: stage)] = nil
      unwritten[TensorKey(job: job, sample: sample, stage: stage)] = nil
      checkpoints[TaskID(job: job, sample: sample, stage: stage)] = nil
    }
  }

  private mutating func expect(_ condition: Bool, _ fault: @autoclosure () -> String) {
    if !condition { faults.append(fault()) }
  }
}
