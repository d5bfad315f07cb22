import Digests
import Wire

extension BrokerCore {
  mutating func handle(_ message: ClientRequest, from peer: PeerID, request: UInt64, fresh: JobID) {
    let reply: ClientReply?
    do throws(Refusal) {
      reply =
        switch message {
        case .submit(let submission): .accepted(try submit(submission, fresh: fresh))
        case .status(let job?, _): .jobs([try fullStatus(job)])
        case .status(nil, let limit): .jobs(briefStatus(newest: limit == 0 ? 100 : Int(limit)))
        case .watch(let job): .event(try watch(job, for: WatchTable.Watcher(peer: peer, request: request)))
        case .fetch(let job, let sample): try fetch(job, sample, for: peer, request: request)
        case .cancel(let job): .cancelled(try cancel(job))
        case .workers: .workers(StatusReport.workers(workers.all, at: now))
        case .locate: .located(workerPort: workerPort)
        }
    } catch {
      reply = .refused(error)
    }
    if let reply { actions.append(.reply(peer, request: request, reply)) }
  }

  private mutating func submit(_ submission: Submission, fresh: JobID) throws(Refusal) -> Acceptance {
    guard submission.key.utf8.count <= Admission.maxKeyBytes else {
      throw Refusal(.invalid, "the idempotency key has \(submission.key.utf8.count) bytes; at most \(Admission.maxKeyBytes) are allowed")
    }
    if !submission.key.isEmpty, let job = jobs.job(forKey: submission.key) {
      return Acceptance(job: job.id, duplicate: true, samples: UInt32(job.samples.count))
    }
    let key = try choosePipeline(submission.pipeline)
    guard let info = pipelines[key]?.info else { throw Refusal(.notFound, "pipeline '\(submission.pipeline)' is gone") }
    let options = try Admission.options(submission.options, truncated: submission.truncated, for: info)
    let samples = try Admission.samples(of: submission.runs, labels: info.labels, limit: limits.maxSamplesPerJob)
    let tasks = samples.count * options.count
    guard tasks <= limits.maxOpenTasks else {
      throw Refusal(.invalid, "the job needs \(tasks) tasks; this broker holds \(limits.maxOpenTasks) at a time: submit smaller jobs")
    }
    guard jobs.openTasks + tasks <= limits.maxOpenTasks else {
      throw Refusal(
        .overloaded, "\(jobs.openTasks) tasks are open and \(limits.maxOpenTasks) allowed: no room for \(tasks) more now",
        retryAfterMilliseconds: limits.retryMilliseconds)
    }
    let record = JobRecord(
      id: jobs.unused(fresh), sequence: jobs.nextSequence, pipeline: info.digest, key: submission.key, options: options,
      truncated: submission.truncated, submittedUnixMilliseconds: unixNow, samples: samples)
    let job = Job(record, pipeline: key)
    actions.append(.persist(.accepted(record)))
    jobs.insert(job)
    queues.push(
      samples.indices.lazy.map { StageQueues.Entry(sequence: job.sequence, job: job.id, sample: UInt32($0)) },
      StageKey(pipeline: key, stage: 0))
    unsettledStages.insert(StageKey(pipeline: key, stage: 0))
    return Acceptance(job: job.id, duplicate: false, samples: UInt32(samples.count))
  }

  /// By digest or by name; of several of a name, the one that has workers.
  private func choosePipeline(_ asked: String) throws(Refusal) -> PipelineTable.Key {
    let keys = pipelines.keys
    let shown = clip(asked, 100)
    var candidates = keys
    if !asked.isEmpty {
      candidates = keys.filter { pipelines[$0]?.info.name == asked }
      if candidates.isEmpty { candidates = keys.filter { hex(pipelines[$0]?.info.digest ?? []) == asked.lowercased() } }
    }
    if let only = candidates.first, candidates.count == 1 { return only }
    if candidates.isEmpty {
      if keys.isEmpty {
        throw Refusal(
          .notReady, "no worker has announced a pipeline yet; start a worker of each stage",
          retryAfterMilliseconds: limits.retryMilliseconds)
      }
      let names = Set(keys.compactMap { pipelines[$0]?.info.name }).sorted().joined(separator: ", ")
      throw Refusal(.notFound, "no worker has announced a pipeline '\(shown)'; known are \(clip(names, 1_000))")
    }
    let served = candidates.filter { workers.serves($0) }
    if let only = served.first, served.count == 1 { return only }
    let several = served.isEmpty ? candidates : served
    let digests = several.compactMap { pipelines[$0]?.info }.map { "\($0.name) \(hex($0.digest))" }.joined(separator: ", ")
    throw Refusal(.invalid, "more than one pipeline answers to '\(shown)'; name one by its digest: \(clip(digests, 2_000))")
  }

  private func find(_ id: JobID) throws(Refusal) -> (Job, PipelineInfo) {
    guard let job = jobs[id], let pipeline = pipelines[job.pipeline] else {
      throw Refusal(.notFound, "no job \(id); it was never submitted here, or is forgotten")
    }
    return (job, pipeline.info)
  }

  private func fullStatus(_ id: JobID) throws(Refusal) -> JobStatus {
    let (job, pipeline) = try find(id)
    return StatusReport.full(job, pipeline)
  }

  private func briefStatus(newest limit: Int) -> [JobStatus] {
    jobs.newest(min(limit, StatusReport.maxJobs)).compactMap { job in
      pipelines[job.pipeline].map { StatusReport.brief(job, $0.info) }
    }
  }

  private mutating func watch(_ id: JobID, for watcher: WatchTable.Watcher) throws(Refusal) -> JobStatus {
    let (job, pipeline) = try find(id)
    if job.ending == nil {
      guard watches.count < limits.maxWatches else {
        throw Refusal(
          .overloaded, "\(watches.count) watches are open; that is the limit", retryAfterMilliseconds: limits.retryMilliseconds)
      }
      watches.add(watcher, to: id, at: now)
    }
    return StatusReport.full(job, pipeline)
  }

  private mutating func fetch(_ id: JobID, _ index: UInt32, for peer: PeerID, request: UInt64) throws(Refusal) -> ClientReply? {
    let (job, _) = try find(id)
    guard index < job.samples.count else {
      throw Refusal(.notFound, "job \(id) has no sample \(index); it has \(job.samples.count), counted from 0")
    }
    let sample = job.samples[Int(index)]
    switch sample.phase {
    case .waiting, .leased:
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
          digest: outcome.digest, numerics: outcome.numerics)))
    return nil
  }

  private mutating func cancel(_ id: JobID) throws(Refusal) -> Cancellation {
    let (job, _) = try find(id)
    var counts = Cancellation(queued: 0, stopped: 0, tooLate: 0)
    for (index, sample) in job.samples.enumerated() {
      switch sample.phase {
      case .waiting: counts.queued += 1
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
