import Logging
import Wire

/// The life of a task: queued, leased, released or finished.
extension BrokerCore {
  mutating func enqueue(_ job: Job, _ index: Int) {
    let stage = StageKey(pipeline: job.pipeline, stage: job.samples[index].stage)
    queues.push(StageQueues.Entry(sequence: job.sequence, job: job.id, sample: UInt32(index)), stage)
    unsettledStages.insert(stage)
  }

  /// Gives waiting samples to free workers; in the last stages first, so that what is begun gets finished.
  mutating func dispatch() {
    guard !unsettledStages.isEmpty else { return }
    for stage in unsettledStages.sorted(by: >) { dispatch(stage) }
    unsettledStages.removeAll(keepingCapacity: true)
  }

  private mutating func dispatch(_ stage: StageKey) {
    while workers.hasFreeSlot(stage), let entry = queues.first(stage) {
      let index = Int(entry.sample)
      guard let sample = jobs[entry.job]?.samples[index], sample.phase == .waiting, sample.stage == stage.stage else {
        queues.removeFirst(stage)
        continue
      }
      // The head of the queue keeps its turn until a worker has room for it.
      guard let peer = workers.choose(stage, need: { $0.profile.need(for: sample).bytes }), let worker = workers[peer]?.profile
      else { return }
      queues.removeFirst(stage)
      lease(entry.job, index, to: worker)
    }
  }

  private mutating func lease(_ id: JobID, _ index: Int, to worker: WorkerProfile) {
    // Nothing of the job's samples may be held when they change, or all of them would be copied.
    guard let job = jobs[id] else { return }
    let sample = job.samples[index]
    let options = job.options
    let truncated = job.truncated
    let need = worker.need(for: sample)
    jobs.update(id) {
      if !need.resumes { $0.setStep(index, 0) }
      $0.lease(index)
    }
    let task = TaskID(job: id, sample: UInt32(index), stage: UInt32(sample.stage))
    let ref = TaskRef(task, attempt: sample.attempt &+ 1)
    let resumeStep = need.resumes ? sample.checkpoint?.step : nil
    leases[task] = Lease(
      attempt: ref.attempt, holder: .worker(worker.peer), bytes: need.bytes, resumeStep: resumeStep ?? 0, lastProgress: now)
    workers.update(worker.peer) {
      $0.leases.insert(task)
      $0.bytesHeld += need.bytes
      $0.lastSent = now
    }
    actions.append(.persist(.leased(ref)))
    let input = sample.stage == 0 ? nil : TensorKey(job: id, sample: UInt32(index), stage: UInt32(sample.stage - 1))
    actions.append(
      .assign(
        worker.peer,
        AssignOrder(
          task: ref, label: sample.label, seed: sample.seed, options: options, truncated: truncated, input: input,
          checkpointStep: resumeStep)))
    watches.noteChange(id, interval: limits.eventMilliseconds)
  }

  /// Takes a task from the worker that holds it; the sample's own state is up to the caller.
  mutating func dropLease(_ task: TaskID) {
    guard let lease = leases[task] else { return }
    leases[task] = nil
    guard let peer = lease.worker else { return }
    workers.update(peer) {
      $0.leases.remove(task)
      $0.bytesHeld -= lease.bytes
    }
    if let worker = workers[peer] { unsettledStages.insert(worker.stage) }
  }

  /// The same, and tells the worker to stop.
  mutating func revokeLease(_ task: TaskID) {
    guard let lease = leases[task] else { return }
    dropLease(task)
    if let peer = lease.worker { send(.revoke(TaskRef(task, attempt: lease.attempt)), to: peer) }
  }

  /// Ends a lease without a result: the sample is queued again, or given up after too many failures in a row.
  mutating func release(_ task: TaskID, failed reason: String? = nil, permanent: Bool = false) {
    let index = Int(task.sample)
    dropLease(task)
    guard let sample = jobs[task.job]?.samples[index] else { return }
    let failures = reason == nil ? sample.failures : sample.failures &+ 1
    if let reason, permanent || failures >= limits.maxAttempts {
      let times = permanent ? "" : " (failed \(failures) times in a row)"
      fail(task, clip(reason, 400) + times)
      return
    }
    jobs.update(task.job) { $0.release(index, failures: failures) }
    actions.append(.persist(.released(task, failures: failures)))
    if let job = jobs[task.job] { enqueue(job, index) }
    watches.noteChange(task.job, interval: limits.eventMilliseconds)
  }

  /// Gives a sample up; the rest of its job goes on.
  mutating func fail(_ task: TaskID, _ reason: String) {
    jobs.update(task.job) { $0.fail(Int(task.sample), reason) }
    actions.append(.persist(.sampleFailed(task.job, sample: task.sample, reason: reason)))
    log(.error, "sample \(task.sample) of job \(task.job) failed in stage \(task.stage): \(reason)")
    watches.noteChange(task.job, interval: limits.eventMilliseconds)
    finishIfComplete(task.job)
  }

  /// A stage of a sample is done.
  mutating func finish(_ task: TaskID, _ outcome: StageOutcome, _ output: WireTensor) {
    let index = Int(task.sample)
    actions.append(.persist(.stageDone(task, outcome, output: output)))
    jobs.update(task.job) { $0.finishStage(index, outcome) }
    if let job = jobs[task.job], job.samples[index].phase == .waiting { enqueue(job, index) }
    watches.noteChange(task.job, interval: limits.eventMilliseconds)
    finishIfComplete(task.job)
  }

  mutating func finishIfComplete(_ id: JobID) {
    guard let job = jobs[id], job.ending == nil, job.openSamples == 0 else { return }
    end(id, job.naturalEnd)
  }

  /// Ends a job, tells those who watch, and makes room by forgetting old ones.
  mutating func end(_ id: JobID, _ state: JobState) {
    let ending = JobEnding(state: state, unixMilliseconds: unixNow)
    actions.append(.persist(.finished(id, state, unixMilliseconds: unixNow)))
    jobs.update(id) { $0.end(ending) }
    if let job = jobs[id], let pipeline = pipelines[job.pipeline] {
      let watchers = watches.remove(id)
      if !watchers.isEmpty {
        let status = StatusReport.full(job, pipeline.info)
        for watcher in watchers { actions.append(.reply(watcher.peer, request: watcher.request, .event(status))) }
      }
    }
    forgetOldJobs()
  }

  /// Tensors of an assignment could not be read.
  mutating func recover(_ ref: TaskRef, from lost: StoredTensors) {
    let task = ref.task
    guard let lease = leases[task], lease.attempt == ref.attempt else { return }
    switch lost {
    case .checkpoint:
      log(.error, "checkpoint of \(ref) is damaged on disk; the task starts from its beginning")
      jobs.update(task.job) { $0.setCheckpoint(Int(task.sample), nil) }
      actions.append(.persist(.checkpointDropped(task)))
      release(task)
    case .input:
      dropLease(task)
      fail(task, "the output of the stage before is damaged on the broker's disk")
    }
  }

  mutating func send(_ command: WorkerCommand, to peer: PeerID) {
    workers.update(peer) { $0.lastSent = now }
    actions.append(.command(peer, command))
  }
}

extension WorkerProfile {
  /// What the sample's assignment takes of this worker's byte credit, and whether it goes on from the sample's checkpoint: that has to be
  /// of the same numerics class, and to fit at all.
  func need(for sample: Sample) -> (bytes: UInt64, resumes: Bool) {
    guard let checkpoint = sample.checkpoint, checkpoint.numerics == hello.numerics else { return (sample.inputBytes, false) }
    let both = sample.inputBytes + checkpoint.bytes
    return both <= hello.bytes ? (both, true) : (sample.inputBytes, false)
  }
}
