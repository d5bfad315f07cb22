import Logging
import Wire

/// The life of a task: queued, leased, released or finished.
extension BrokerCore {
  mutating func enqueue(_ job: Job, _ index: Int) {
    let stage = StageKey(pipeline: job.pipeline, stage: job.samples[index].stage)
    queues.push(CollectionOfOne(StageQueues.Entry(job, index)), stage, job.share)
    purge(stage)
    unsettledStages.insert(stage)
  }

  /// Takes what is stale out of a stage's queue, if that is most of it.
  mutating func purge(_ stage: StageKey) {
    guard queues.count(stage) > StageQueues.bound(waiting: jobs.backlog[stage].waiting) else { return }
    queues.purge(stage) { jobs.isWaiting(TaskID(job: $0.job, sample: $0.sample, stage: UInt32(stage.stage))) }
  }

  /// What failed before is tried again.
  mutating func retryDue() {
    while let ref = backOff.takeDue(at: now) {
      if jobs.isWaiting(ref.task, after: ref.attempt), let job = jobs[ref.task.job] { enqueue(job, Int(ref.task.sample)) }
    }
  }

  /// Gives waiting samples to free workers; in the last stages first, so that what is begun gets finished.
  mutating func dispatch() {
    guard !unsettledStages.isEmpty else { return }
    while let stage = unsettledStages.max() {
      unsettledStages.remove(stage)
      dispatchTrials(stage)
      dispatch(stage)
      // What went on from here has left room for what comes before.
      if stage.stage > 0 { unsettledStages.insert(StageKey(pipeline: stage.pipeline, stage: stage.stage - 1)) }
    }
  }

  /// How many samples may wait for a stage.
  private func waitingLimit(_ stage: StageKey) -> Int {
    let bytes = max(1, pipelines[stage.pipeline]?.outputBytes[stage.stage - 1] ?? 1)
    let fitting = Int(clamping: max(1, limits.waitingBytes / bytes))
    let slots = workers.slots(stage)
    return slots == 0 ? fitting : min(fitting, slots * limits.waitingPerSlot)
  }

  /// Whether so much waits for a stage that the one before it gets no more work. That lasts until half of it is left: then the stage before gets
  /// enough at once to fill its batch, where one task for each that went on would be stepped alone.
  private mutating func isFull(_ stage: StageKey) -> Bool {
    let waiting = jobs.backlog[stage].waiting
    let limit = waitingLimit(stage)
    if waiting == 0 || 2 * waiting <= limit {
      fullStages.remove(stage)
    } else if waiting >= limit {
      fullStages.insert(stage)
    }
    return fullStages.contains(stage)
  }

  private mutating func dispatch(_ stage: StageKey) {
    defer { purge(stage) }
    let next = StageKey(pipeline: stage.pipeline, stage: stage.stage + 1)
    let isFull = isFull(next)
    while workers.hasCredit(stage) {
      // Who has nothing waiting there yet does not stand behind those who have.
      let turn = queues.next(stage) { share in !isFull || jobs.backlog[next, share].waiting + jobs.backlog[stage, share].leased == 0 }
      guard let (share, entry) = turn else { return }
      let index = Int(entry.sample)
      guard let job = jobs[entry.job] else {
        queues.removeFirst(stage, share, cost: nil, weight: 1)
        continue
      }
      let sample = job.samples[index]
      guard sample.phase == .waiting, sample.stage == stage.stage else {
        queues.removeFirst(stage, share, cost: nil, weight: 1)
        continue
      }
      if let late = lateness(of: job, index) {
        expire(entry.job, late)
        continue
      }
      // The head of the queue keeps its turn until a worker has room for it.
      guard let worker = workers.choose(stage, backlog: jobs.backlog[stage].waiting, need: { $0.need(for: sample) }) else { return }
      let need = worker.need(for: sample)
      let step = need.resumes ? sample.checkpoint?.step ?? 0 : 0
      queues.removeFirst(stage, share, cost: cost(of: job, stage, resuming: step), weight: weight(of: share.tenant))
      lease(job, index, sample, to: worker, need)
    }
  }

  private mutating func lease(_ job: Job, _ index: Int, _ sample: Sample, to worker: Worker, _ need: Worker.Need) {
    jobs.update(job) {
      if !need.resumes { $0.setStep(index, 0) }
      $0.lease(index)
    }
    let task = TaskID(job: job.id, sample: UInt32(index), stage: UInt32(sample.stage))
    let ref = TaskRef(task, attempt: sample.attempt &+ 1)
    let resumeStep = need.resumes ? sample.checkpoint?.step : nil
    leases[task] = Lease(
      attempt: ref.attempt, holder: .worker(worker.peer), bytes: need.bytes, resumeStep: resumeStep ?? 0, lastProgress: now,
      startedUnix: unixNow, workerName: worker.hello.name, numerics: worker.hello.numerics, firstStep: resumeStep ?? 0,
      wasAhead: worker.leases.count >= Int(worker.hello.slots))
    workers.update(worker) {
      $0.leases.insert(task)
      $0.bytesHeld += need.bytes
      $0.lastSent = now
    }
    actions.append(.persist(.leased(ref)))
    let input = sample.stage == 0 ? nil : TensorKey(job: job.id, sample: UInt32(index), stage: UInt32(sample.stage - 1))
    actions.append(
      .assign(
        worker.peer,
        AssignOrder(
          task: ref, label: sample.label, seed: sample.seed, options: job.options, truncated: job.truncated, input: input,
          checkpointStep: resumeStep)))
    watches.noteChange(job.id, interval: limits.eventMilliseconds)
  }

  /// Takes a task from the worker that holds it; the sample's own state is up to the caller.
  ///
  /// - Parameter ending: what the job's history says; `nil`: nothing, for it was said before.
  mutating func dropLease(_ task: TaskID, as ending: JobState? = nil, because reason: String? = nil) {
    guard let lease = leases.remove(task) else { return }
    if let ending, !lease.isTrial {
      actions.append(.persist(.attempted(task.job, attempt(task, lease, ending, reason))))
    }
    guard let peer = lease.worker, let worker = workers[peer] else { return }
    workers.update(worker) {
      $0.leases.remove(task)
      $0.bytesHeld -= lease.bytes
    }
    unsettledStages.insert(worker.stage)
  }

  /// For the job's history.
  func attempt(_ task: TaskID, _ lease: Lease, _ state: JobState, _ reason: String? = nil) -> Attempt {
    let job = jobs[task.job]
    let isDone = state == .done
    return Attempt(
      sample: task.sample, stage: task.stage, number: lease.attempt, worker: clip(lease.workerName, 100), numerics: lease.numerics,
      startedUnixMilliseconds: lease.startedUnix, endedUnixMilliseconds: state == .running ? nil : max(unixNow, 1), state: state,
      firstStep: lease.firstStep,
      lastStep: (isDone ? job?.steps(ofStage: Int(task.stage)) : job?.samples[Int(task.sample)].step) ?? 0,
      stepMilliseconds: lease.stepMilliseconds, reason: reason.map { clip($0, 200) })
  }

  /// Takes it away and tells the worker to stop.
  mutating func revokeLease(_ task: TaskID) {
    guard let lease = leases[task] else { return }
    dropLease(task, as: .cancelled)
    if let peer = lease.worker { send(.revoke(TaskRef(task, attempt: lease.attempt)), to: peer) }
  }

  /// Ends a lease of a worker that is still there.
  mutating func takeBack(_ task: TaskID) {
    guard let lease = leases[task] else { return }
    if let peer = lease.worker { send(.revoke(TaskRef(task, attempt: lease.attempt)), to: peer) }
    release(task)
  }

  /// Ends a lease without a result: the sample is queued again, or given up after too many failures in a row.
  mutating func release(_ task: TaskID, failed reason: String? = nil, permanent: Bool = false) {
    if let lease = leases[task], lease.isTrial { return abandonTrial(task) }
    let index = Int(task.sample)
    dropLease(task, as: reason == nil ? .cancelled : .failed, because: reason)
    guard let sample = jobs[task.job]?.samples[index] else { return }
    let failures = reason == nil ? sample.failures : sample.failures &+ 1
    if let reason, permanent || failures >= limits.maxAttempts {
      let times = permanent ? "" : " (failed \(failures) times in a row)"
      fail(task, clip(reason, 400) + times)
      return
    }
    jobs.update(task.job) { $0.release(index, failures: failures) }
    actions.append(.persist(.released(task, failures: failures)))
    if reason == nil {
      if let job = jobs[task.job] { enqueue(job, index) }
    } else {
      let failed = TaskRef(task, attempt: sample.attempt)
      let delay = BackOff.delay(
        failed, failures: failures, first: limits.firstRetryMilliseconds, longest: limits.longestRetryMilliseconds)
      backOff.add(failed, until: now + delay)
      if backOff.count > BackOff.bound(openTasks: jobs.openTasks) {
        backOff.purge { jobs.isWaiting($0.task, after: $0.attempt) }
      }
    }
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
  mutating func finish(_ task: TaskID, of job: Job, _ outcome: StageOutcome, _ output: WireTensor) {
    let index = Int(task.sample)
    let isDraft = job.goesOn(after: Int(task.stage))
    actions.append(.persist(isDraft ? .draftDone(task, outcome, output: output) : .stageDone(task, outcome, output: output)))
    jobs.update(job) { $0.finishStage(index, outcome) }
    if job.samples[index].phase == .waiting { enqueue(job, index) }
    watches.noteChange(job.id, interval: limits.eventMilliseconds)
    finishIfComplete(job.id)
  }

  mutating func finishIfComplete(_ id: JobID) {
    guard let job = jobs[id], job.ending == nil, job.openSamples == 0 else { return }
    end(id, job.naturalEnd)
  }

  /// Ends a job, tells those who watch, and makes room by forgetting old ones.
  mutating func end(_ id: JobID, _ state: JobState) {
    let ending = JobEnding(state: state, unixMilliseconds: unixNow)
    if let job = jobs[id] {
      deadlines.remove(job)
      // There may be room for others.
      for stage in 0..<job.stageCount { unsettledStages.insert(StageKey(pipeline: job.pipeline, stage: stage)) }
    }
    actions.append(.persist(.finished(id, state, unixMilliseconds: unixNow)))
    jobs.update(id) { $0.end(ending) }
    if let job = jobs[id], let pipeline = pipelines[job.pipeline] {
      let watchers = watches.remove(id)
      if !watchers.isEmpty {
        let status = StatusReport.full(job, pipeline.info)
        for watcher in watchers { actions.append(.reply(watcher.peer, request: watcher.request, .event(status))) }
      }
    }
    if let job = jobs[id] { for stage in 0..<job.stageCount { purge(StageKey(pipeline: job.pipeline, stage: stage)) } }
    forgetOldJobs()
  }

  /// Tensors of an assignment could not be read.
  mutating func recover(_ ref: TaskRef, from lost: StoredTensors) {
    let task = ref.task
    guard let lease = leases[task], lease.attempt == ref.attempt else { return }
    if lease.isTrial {
      log(.critical, "\(ref) cannot be repeated: its input is not kept; it stays unknown who computed wrongly")
      dropLease(task)
      return quarantine.drop(task)
    }
    switch lost {
    case .checkpoint:
      log(.error, "checkpoint of \(ref) is damaged on disk; the task starts from its beginning")
      jobs.update(task.job) { $0.setCheckpoint(Int(task.sample), nil) }
      actions.append(.persist(.checkpointDropped(task)))
      release(task)
    case .input:
      let reason = "the output of the stage before is damaged on the broker's disk"
      dropLease(task, as: .cancelled, because: reason)
      guard let sample = jobs[task.job]?.samples[Int(task.sample)] else { return }
      // The same bytes can be computed again, but for a disk that damages them every time that would be for ever.
      let restarts = AttemptNumber.restarts(sample.attempt)
      if restarts >= limits.maxAttempts { return fail(task, "\(reason), and the sample began anew \(restarts) times before") }
      log(.error, "the output of the stage before \(ref) is damaged on disk; the sample starts again from its first stage")
      restart(task, after: sample.attempt)
    case .draft:
      dropLease(task, as: .cancelled, because: "the output of the stage before went with a broker's memory")
      guard let sample = jobs[task.job]?.samples[Int(task.sample)] else { return }
      log(.info, "the output of the stage before \(ref) went with a broker's memory; the sample starts again from its first stage")
      restart(task, after: sample.attempt)
    }
  }

  /// A sample that nobody is at begins anew, from its first stage.
  private mutating func restart(_ task: TaskID, after attempt: UInt32) {
    for disputed in quarantine.disputes.keys.filter({ $0.job == task.job && $0.sample == task.sample }).sorted(by: TaskID.isOlder) {
      revokeLease(disputed)
      quarantine.drop(disputed)
    }
    let first = TaskID(job: task.job, sample: task.sample, stage: 0)
    let restart = TaskRef(first, attempt: AttemptNumber.restart(after: attempt))
    actions.append(.persist(.restarted(restart)))
    jobs.update(task.job) { $0.restart(Int(task.sample), after: restart.attempt) }
    if let job = jobs[task.job] { enqueue(job, Int(task.sample)) }
    watches.noteChange(task.job, interval: limits.eventMilliseconds)
  }

  mutating func send(_ command: WorkerCommand, to peer: PeerID) {
    if let worker = workers[peer] { return send(command, to: worker) }
    actions.append(.command(peer, command))
  }

  mutating func send(_ command: WorkerCommand, to worker: Worker) {
    worker.lastSent = now
    actions.append(.command(worker.peer, command))
  }
}

extension Worker {
  /// What a sample's assignment takes of a worker's byte credit, and whether it goes on from the sample's checkpoint.
  typealias Need = (bytes: UInt64, resumes: Bool)

  /// A checkpoint has to be of the same numerics class, and to fit at all.
  func need(for sample: Sample) -> Need {
    guard let checkpoint = sample.checkpoint, checkpoint.numerics == hello.numerics else { return (sample.inputBytes, false) }
    let both = sample.inputBytes + checkpoint.bytes
    return both <= hello.bytes ? (both, true) : (sample.inputBytes, false)
  }
}
