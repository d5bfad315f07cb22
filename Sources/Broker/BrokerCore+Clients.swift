import Wire

extension BrokerCore {
  mutating func handle(_ message: ClientRequest, from peer: PeerID, request: UInt64, fresh: JobID) {
    let reply: ClientReply?
    do throws(Refusal) {
      if let refusal = refusal(of: message, from: peer) { throw refusal }
      reply =
        switch message {
        case .submit(let submission): .accepted(try submit(submission, fresh: fresh))
        case .status(let job?, _): .jobs([try fullStatus(job)])
        case .status(nil, let limit): .jobs(briefStatus(newest: limit == 0 ? 100 : Int(limit)))
        case .watch(let job): .event(try watch(job, for: WatchTable.Watcher(peer: peer, request: request, key: sender.key)))
        case .fetch(let job, let sample, let stage): try fetch(job, sample, stage, for: peer, request: request)
        case .cancel(let job): .cancelled(try cancel(job))
        case .release(let job, let keep): .released(try releaseHold(job, keep: keep))
        case .retry(let job, let samples): .retried(samples: try retry(job, samples))
        case .dead(let limit): .jobs(dead(newest: limit == 0 ? 100 : Int(limit)))
        case .history(let job, let sample): try history(job, from: sample, for: peer, request: request)
        case .workers: .workers(StatusReport.workers(workers.all, quarantine, at: now, withTasks: principal.tenantInView == nil))
        case .locate: .located(workerPort: workerPort)
        }
    } catch {
      reply = .refused(error)
    }
    if let reply { actions.append(.reply(peer, request: request, reply)) }
  }

  func find(_ id: JobID) throws(Refusal) -> (Job, PipelineInfo) {
    guard let job = jobs[id], let pipeline = pipelines[job.pipeline] else {
      throw Self.noJob(id)
    }
    return (job, pipeline.info)
  }

  private func fullStatus(_ id: JobID) throws(Refusal) -> JobStatus {
    let (job, pipeline) = try find(id)
    return StatusReport.full(job, pipeline)
  }

  private func briefStatus(newest limit: Int) -> [JobStatus] {
    jobs.newest(min(limit, StatusReport.maxJobs), of: principal.tenantInView).compactMap { job in
      pipelines[job.pipeline].map { StatusReport.brief(job, $0.info) }
    }
  }

  private mutating func watch(_ id: JobID, for watcher: WatchTable.Watcher) throws(Refusal) -> JobStatus {
    let (job, pipeline) = try find(id)
    if job.ending == nil {
      let own = watches.count(of: watcher.peer)
      for (open, limit, whose) in [(watches.count, limits.maxWatches, ""), (own, limits.maxWatchesPerClient, " of this client")] {
        guard open < limit else {
          throw Refusal(
            .overloaded, "\(open) watches\(whose) are open; that is the limit", retryAfterMilliseconds: limits.retryMilliseconds)
        }
      }
      watches.add(watcher, to: id, at: now)
    }
    return StatusReport.full(job, pipeline)
  }

  private func dead(newest limit: Int) -> [JobStatus] {
    jobs.dead(min(limit, StatusReport.maxJobs), of: principal.tenantInView).compactMap { job in
      pipelines[job.pipeline].map { StatusReport.dead(job, $0.info) }
    }
  }

  private mutating func history(_ id: JobID, from sample: UInt32, for peer: PeerID, request: UInt64) throws(Refusal) -> ClientReply? {
    let (job, _) = try find(id)
    let running = job.samples.indices.dropFirst(Int(sample)).compactMap { index -> Attempt? in
      let task = TaskID(job: id, sample: UInt32(index), stage: UInt32(job.samples[index].stage))
      return leases[task].map { attempt(task, $0, .running) }
    }
    actions.append(.history(peer, request: request, id, from: sample, running: running))
    return nil
  }

  /// A history with the digests of those results in it that were kept: of several attempts that were done in a stage the last one's, for an
  /// earlier one's is lost, or was dropped.
  ///
  /// - Parameter attempts: by sample, stage and number.
  func withDigests(_ attempts: [Attempt], of id: JobID) -> [Attempt] {
    guard let job = jobs[id] else { return attempts }
    var attempts = attempts
    var last: Attempt?
    for index in attempts.indices.reversed() where attempts[index].state == .done {
      let attempt = attempts[index]
      defer { last = attempt }
      guard last?.sample != attempt.sample || last?.stage != attempt.stage, job.samples.indices.contains(Int(attempt.sample)) else {
        continue
      }
      let outcomes = job.samples[Int(attempt.sample)].outcomes
      guard outcomes.indices.contains(Int(attempt.stage)) else { continue }
      attempts[index].digest = outcomes[Int(attempt.stage)].digest.bytes
    }
    return attempts
  }

  private mutating func fetch(
    _ id: JobID, _ index: UInt32, _ stageName: String, for peer: PeerID, request: UInt64
  ) throws(Refusal) -> ClientReply? {
    let (job, pipeline) = try find(id)
    guard index < job.samples.count else {
      throw Refusal(.notFound, "job \(id) has no sample \(index); it has \(job.samples.count), counted from 0")
    }
    let sample = job.samples[Int(index)]
    if !stageName.isEmpty {
      guard let stage = pipeline.stages.firstIndex(where: { $0.name == stageName }) else {
        throw Refusal(.invalid, "pipeline \(pipeline.name) has no stage '\(clip(stageName, 100))'")
      }
      if stage < job.stageCount - 1 {
        try draft(job, index, stage, stageName, for: peer, request: request)
        return nil
      }
    }
    switch sample.phase {
    case .waiting, .leased, .held:
      throw Refusal(.notReady, "sample \(index) of job \(id) is not finished", retryAfterMilliseconds: limits.retryMilliseconds)
    case .failed: throw Refusal(.notFound, "sample \(index) of job \(id) failed: \(sample.error ?? "")")
    case .cancelled: throw Refusal(.notFound, "sample \(index) of job \(id) was cancelled")
    case .done: break
    }
    guard let outcome = sample.outcomes.last else { return nil }
    actions.append(
      .image(
        peer, request: request,
        ImageOrder(
          key: TensorKey(job: id, sample: index, stage: UInt32(job.stageCount - 1)), label: sample.label, seed: sample.seed,
          digest: outcome.digest, numerics: outcome.numerics, stage: pipeline.stages[job.stageCount - 1].name, asker: sender.key)))
    return nil
  }

  /// The output of a stage that is not the last. It is there until the next stage is done.
  private mutating func draft(
    _ job: Job, _ index: UInt32, _ stage: Int, _ name: String, for peer: PeerID, request: UInt64
  ) throws(Refusal) {
    let sample = job.samples[Int(index)]
    if sample.stage <= stage, sample.isOpen {
      throw Refusal(
        .notReady, "sample \(index) of job \(job.id) has not passed stage \(name)", retryAfterMilliseconds: limits.retryMilliseconds)
    }
    guard sample.stage == stage + 1, sample.phase != .cancelled else {
      throw Refusal(.notFound, "the output of stage \(name) of sample \(index) of job \(job.id) is not kept any more")
    }
    let outcome = sample.outcomes[stage]
    actions.append(
      .image(
        peer, request: request,
        ImageOrder(
          key: TensorKey(job: job.id, sample: index, stage: UInt32(stage)), label: sample.label, seed: sample.seed,
          digest: outcome.digest, numerics: outcome.numerics, stage: name, asker: sender.key)))
  }

  private mutating func cancel(_ id: JobID) throws(Refusal) -> Cancellation {
    let (job, _) = try find(id)
    var counts = Cancellation(queued: 0, stopped: 0, tooLate: 0)
    for (index, sample) in job.samples.enumerated() {
      switch sample.phase {
      case .waiting, .held: counts.queued += 1
      case .leased:
        counts.stopped += 1
        revokeLease(TaskID(job: id, sample: UInt32(index), stage: UInt32(sample.stage)))
      case .done, .failed: counts.tooLate += 1
      // Asked again, because the first answer was lost: the same answer.
      case .cancelled where sample.attempt > 0: counts.stopped += 1
      case .cancelled: counts.queued += 1
      }
    }
    if job.ending == nil { end(id, .cancelled) }
    return counts
  }
}
