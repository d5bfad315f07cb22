import Digests
import Wire

/// Taking jobs in.
extension BrokerCore {
  mutating func submit(_ asked: Submission, fresh: JobID) throws(Refusal) -> Acceptance {
    var submission = asked
    if let tenant = principal.ownTenant { submission.tenant = tenant }
    guard submission.key.utf8.count <= Admission.maxKeyBytes else {
      throw Refusal(.invalid, "the idempotency key has \(submission.key.utf8.count) bytes; at most \(Admission.maxKeyBytes) are allowed")
    }
    if !submission.key.isEmpty, let job = jobs.job(forKey: submission.key, of: Admission.tenant(of: submission)) {
      guard isSame(submission, as: job) else {
        throw Refusal(
          .invalid, "the key '\(clip(submission.key, 100))' belongs to job \(job.id), which asks for something else; choose another key")
      }
      return Acceptance(job: job.id, duplicate: true, samples: UInt32(job.samples.count))
    }
    let key = try choosePipeline(submission.pipeline)
    guard let info = pipelines[key]?.info else { throw Refusal(.notFound, "pipeline '\(submission.pipeline)' is gone") }
    let options = try Admission.options(submission.options, truncated: submission.truncated, for: info)
    let samples = try Admission.samples(of: submission.runs, labels: info.labels, limit: limits.maxSamplesPerJob)
    var terms = try Admission.terms(of: submission, for: info)
    if let deadline = submission.deadlineMilliseconds {
      terms.deadlineUnixMilliseconds = unixNow.addingReportingOverflow(deadline).overflow ? .max : unixNow + deadline
    }
    try checkRoom(for: samples.count * options.count, terms.tenant, key)
    let deadline = localDeadline(terms)
    if let asked = submission.deadlineMilliseconds, deadline != .max {
      let share = Share(priority: terms.priority, tenant: terms.tenant)
      let duration = predictedDuration(key, options, samples: samples.count, share, deadline: deadline)
      if let duration, duration > Double(asked) {
        throw Refusal(
          .tooLate,
          """
          the job would be done in about \(Int64(duration)) ms, and its deadline is in \(asked) ms: give it more time or a higher \
          priority, or ask for fewer samples or steps
          """)
      }
    }
    let record = JobRecord(
      id: jobs.unused(fresh), sequence: jobs.nextSequence, pipeline: info.digest, key: submission.key, options: options,
      truncated: submission.truncated, submittedUnixMilliseconds: unixNow, samples: samples, terms: terms)
    let job = Job(record, pipeline: key, deadline: deadline)
    actions.append(.persist(.accepted(record)))
    jobs.insert(job)
    deadlines.insert(job)
    let stage = StageKey(pipeline: key, stage: 0)
    queues.push(samples.indices.map { StageQueues.Entry(job, $0) }, stage, job.share)
    purge(stage)
    unsettledStages.insert(stage)
    return Acceptance(job: job.id, duplicate: false, samples: UInt32(samples.count))
  }

  /// Whether a request is the submission of a job that there is already: its answer changes nothing, and refusing it would be a lie.
  func isRepeated(_ request: ClientRequest, from sender: Sender) -> Bool {
    guard case .submit(let submission) = request, !submission.key.isEmpty else { return false }
    let tenant = access?.principal(of: sender.key).ownTenant ?? Admission.tenant(of: submission)
    return jobs.job(forKey: submission.key, of: tenant) != nil
  }

  /// Whether a submission asks for what a job was made of.
  private func isSame(_ submission: Submission, as job: Job) -> Bool {
    guard let info = pipelines[job.pipeline]?.info else { return false }
    let asked = submission.pipeline
    guard asked.isEmpty || asked == info.name || asked.lowercased() == hex(info.digest) else { return false }
    do throws(Refusal) {
      var terms = try Admission.terms(of: submission, for: info)
      if let deadline = submission.deadlineMilliseconds {
        let submitted = job.submittedUnixMilliseconds
        terms.deadlineUnixMilliseconds = submitted.addingReportingOverflow(deadline).overflow ? .max : submitted + deadline
      }
      let samples = try Admission.samples(of: submission.runs, labels: info.labels, limit: limits.maxSamplesPerJob)
      return try Admission.options(submission.options, truncated: submission.truncated, for: info) == job.options
        && submission.truncated == job.truncated && terms == job.terms
        && samples.elementsEqual(job.samples) { $0.label == $1.label && $0.seed == $1.seed }
    } catch {
      return false
    }
  }

  func checkRoom(for tasks: Int, _ tenant: String, _ pipeline: PipelineTable.Key) throws(Refusal) {
    let ofTenant = jobs.openTasksByTenant[tenant] ?? 0
    let tenantLimit = limits.maxOpenTasksByTenant[tenant] ?? limits.maxOpenTasksPerTenant
    for (open, limit, whose) in [
      (jobs.openTasks, limits.maxOpenTasks, ""), (ofTenant, tenantLimit, " of tenant '\(clip(tenant, 100))'"),
    ] {
      guard tasks <= limit else {
        throw Refusal(.invalid, "the job needs \(tasks) tasks; this broker holds \(limit)\(whose) at a time: submit smaller jobs")
      }
      guard open + tasks <= limit else {
        throw Refusal(
          .overloaded, "\(open) tasks\(whose) are open and \(limit) allowed: no room for \(tasks) more now",
          retryAfterMilliseconds: retryAfter(pipeline, tasks: open + tasks - limit, of: jobs.openTasks))
      }
    }
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
}
