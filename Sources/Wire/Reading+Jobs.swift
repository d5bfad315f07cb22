import CProtobufC
import CWeirProto

// Clients' requests and brokers' replies, out of C structs.

extension ClientRequest {
  init(_ envelope: Weir__V1__Envelope, _ tensors: [WireTensor]) throws(WireError) {
    try Reading.noTensors(tensors)
    switch envelope.body_case {
    case WEIR__V1__ENVELOPE__BODY_SUBMIT:
      self = .submit(try Submission(try Reading.required(envelope.submit, "submit")))
    case WEIR__V1__ENVELOPE__BODY_STATUS:
      let message = try Reading.required(envelope.status, "status")
      if message.dead != 0 {
        self = .dead(limit: message.limit == 0 ? 100 : message.limit)
        return
      }
      self =
        message.job == 0
        ? .status(nil, limit: message.limit == 0 ? 100 : message.limit)
        : .status(JobID(rawValue: message.job), limit: message.limit)
    case WEIR__V1__ENVELOPE__BODY_WATCH:
      self = .watch(JobID(rawValue: try Reading.required(envelope.watch, "watch").job))
    case WEIR__V1__ENVELOPE__BODY_FETCH:
      let message = try Reading.required(envelope.fetch, "fetch")
      self = .fetch(JobID(rawValue: message.job), sample: message.sample, stage: try Reading.name(message.stage, "a stage's name"))
    case WEIR__V1__ENVELOPE__BODY_CANCEL:
      self = .cancel(JobID(rawValue: try Reading.required(envelope.cancel, "cancel").job))
    case WEIR__V1__ENVELOPE__BODY_RELEASE:
      let message = try Reading.required(envelope.release, "release")
      self = .release(JobID(rawValue: message.job), keep: Array(UnsafeBufferPointer(start: message.keep, count: message.n_keep)))
    case WEIR__V1__ENVELOPE__BODY_RETRY:
      let message = try Reading.required(envelope.retry, "retry")
      self = .retry(JobID(rawValue: message.job), samples: Array(UnsafeBufferPointer(start: message.samples, count: message.n_samples)))
    case WEIR__V1__ENVELOPE__BODY_HISTORY:
      let message = try Reading.required(envelope.history, "history")
      self = .history(JobID(rawValue: message.job), sample: message.sample)
    case WEIR__V1__ENVELOPE__BODY_WORKERS: self = .workers
    case WEIR__V1__ENVELOPE__BODY_LOCATE: self = .locate
    default: throw Reading.unexpected(envelope.body_case, "a client's request")
    }
  }
}

extension ClientReply {
  init(_ envelope: Weir__V1__Envelope, _ tensors: [WireTensor]) throws(WireError) {
    if envelope.body_case != WEIR__V1__ENVELOPE__BODY_IMAGE { try Reading.noTensors(tensors) }
    switch envelope.body_case {
    case WEIR__V1__ENVELOPE__BODY_ACCEPTED:
      let message = try Reading.required(envelope.accepted, "accepted")
      self = .accepted(
        Acceptance(job: JobID(rawValue: message.job), duplicate: message.duplicate != 0, samples: message.samples))
    case WEIR__V1__ENVELOPE__BODY_REFUSED:
      let message = try Reading.required(envelope.refused, "refused")
      self = .refused(
        Refusal(
          try Refusal.Code(message.code), try Reading.text(message.reason, "the reason"),
          retryAfterMilliseconds: message.retry_after_ms == 0 ? nil : message.retry_after_ms))
    case WEIR__V1__ENVELOPE__BODY_JOBS:
      let message = try Reading.required(envelope.jobs, "jobs")
      self = .jobs(
        try Reading.list(message.jobs, message.n_jobs) { (job) throws(WireError) in try JobStatus(job.pointee) })
    case WEIR__V1__ENVELOPE__BODY_EVENT:
      let message = try Reading.required(envelope.event, "event")
      self = .event(try JobStatus(try Reading.required(message.status, "an event's status")))
    case WEIR__V1__ENVELOPE__BODY_IMAGE:
      let message = try Reading.required(envelope.image, "image")
      self = .image(
        FinishedImage(
          job: JobID(rawValue: message.job), sample: message.sample, label: message.label, seed: message.seed,
          digest: try Reading.digest(message.digest, "an image's digest"),
          numerics: try Reading.name(message.numerics, "an image's numerics class"),
          stage: try Reading.name(message.stage, "a stage's name"),
          tensor: try Reading.oneTensor(tensors, "an image")))
    case WEIR__V1__ENVELOPE__BODY_CANCELLED:
      let message = try Reading.required(envelope.cancelled, "cancelled")
      self = .cancelled(Cancellation(queued: message.queued, stopped: message.stopped, tooLate: message.too_late))
    case WEIR__V1__ENVELOPE__BODY_RELEASED:
      let message = try Reading.required(envelope.released, "released")
      self = .released(Choice(kept: message.kept, cancelled: message.cancelled))
    case WEIR__V1__ENVELOPE__BODY_RETRIED:
      self = .retried(samples: try Reading.required(envelope.retried, "retried").samples)
    case WEIR__V1__ENVELOPE__BODY_HISTORY_LIST:
      let message = try Reading.required(envelope.history_list, "history_list")
      self = .history(
        try Reading.list(message.attempts, message.n_attempts) { (attempt) throws(WireError) in try Attempt(attempt.pointee) })
    case WEIR__V1__ENVELOPE__BODY_WORKER_LIST:
      let message = try Reading.required(envelope.worker_list, "worker_list")
      self = .workers(
        try Reading.list(message.workers, message.n_workers) { (worker) throws(WireError) in try WorkerStatus(worker.pointee) })
    case WEIR__V1__ENVELOPE__BODY_LOCATED:
      self = .located(workerPort: try Reading.required(envelope.located, "located").worker_port)
    default: throw Reading.unexpected(envelope.body_case, "a broker's reply")
    }
  }
}

extension Submission {
  fileprivate init(_ message: Weir__V1__Submit) throws(WireError) {
    self.init(
      pipeline: try Reading.name(message.pipeline, "the pipeline"),
      runs: try Reading.list(message.runs, message.n_runs) { (run) throws(WireError) in
        SampleRun(label: try Reading.name(run.pointee.label, "a label"), seed: run.pointee.seed, count: run.pointee.count)
      },
      options: try Reading.list(message.options, message.n_options) { (options) throws(WireError) in
        try StageOptions(options.pointee)
      },
      truncated: message.truncated != 0, key: try Reading.name(message.key, "the idempotency key"),
      tenant: try Reading.name(message.tenant, "the tenant"), priority: try Priority(message.priority),
      deadlineMilliseconds: message.deadline_ms == 0 ? nil : message.deadline_ms,
      holdAfter: try Reading.name(message.hold_after, "a stage's name"))
  }
}

extension StageOptions {
  init(_ message: Weir__V1__StageOptions) throws(WireError) {
    let sampler = try Reading.name(message.sampler, "a sampler's name")
    self.init(
      stage: try Reading.name(message.stage, "a stage's name"), steps: message.steps == 0 ? nil : message.steps,
      sampler: sampler.isEmpty ? nil : sampler)
    if message.eta_choice_case == WEIR__V1__STAGE_OPTIONS__ETA_CHOICE_ETA { eta = try Reading.finite(message.eta, "eta") }
    if message.aug_choice_case == WEIR__V1__STAGE_OPTIONS__AUG_CHOICE_AUG { aug = message.aug }
    if message.guidance_choice_case == WEIR__V1__STAGE_OPTIONS__GUIDANCE_CHOICE_GUIDANCE {
      guidance = try Reading.finite(message.guidance, "guidance")
    }
  }
}

extension JobStatus {
  fileprivate init(_ message: Weir__V1__JobStatus) throws(WireError) {
    let holdAfter = try Reading.name(message.hold_after, "a stage's name")
    let reason = try Reading.name(message.reason, "a job's reason")
    self.init(
      job: JobID(rawValue: message.job), state: try JobState(message.state),
      pipeline: try Reading.name(message.pipeline, "the pipeline"), digest: try Reading.digest(message.digest, "a job's digest"),
      samples: message.samples,
      stages: try Reading.list(message.stages, message.n_stages) { (stage) throws(WireError) in
        try StageStatus(stage.pointee)
      },
      submittedUnixMilliseconds: message.submitted_unix_ms,
      finishedUnixMilliseconds: message.finished_unix_ms == 0 ? nil : message.finished_unix_ms,
      details: try Reading.list(message.details, message.n_details) { (sample) throws(WireError) in
        try SampleStatus(sample.pointee)
      },
      labels: try Reading.list(message.labels, message.n_labels) { (label) throws(WireError) in
        try Reading.name(label, "a label")
      },
      options: try Reading.list(message.options, message.n_options) { (options) throws(WireError) in
        try StageOptions(options.pointee)
      },
      truncated: message.truncated != 0, tenant: try Reading.name(message.tenant, "the tenant"),
      priority: try Priority(message.priority),
      deadlineUnixMilliseconds: message.deadline_unix_ms == 0 ? nil : message.deadline_unix_ms,
      holdAfter: holdAfter.isEmpty ? nil : holdAfter, reason: reason.isEmpty ? nil : reason)
  }
}

extension Attempt {
  fileprivate init(_ message: Weir__V1__Attempt) throws(WireError) {
    let stepMilliseconds = try Reading.finite(message.step_ms, "an attempt's step_ms")
    let reason = try Reading.name(message.reason, "an attempt's reason")
    self.init(
      sample: message.sample, stage: message.stage, number: message.attempt,
      worker: try Reading.name(message.worker, "a worker's name"),
      numerics: try Reading.name(message.numerics, "a worker's numerics class"), startedUnixMilliseconds: message.started_unix_ms,
      endedUnixMilliseconds: message.ended_unix_ms == 0 ? nil : message.ended_unix_ms, state: try JobState(message.state),
      firstStep: message.first_step, lastStep: message.last_step, stepMilliseconds: stepMilliseconds == 0 ? nil : stepMilliseconds,
      reason: reason.isEmpty ? nil : reason,
      digest: message.digest.len == 0 ? nil : try Reading.digest(message.digest, "an attempt's digest"))
  }
}

extension StageStatus {
  fileprivate init(_ message: Weir__V1__StageStatus) throws(WireError) {
    self.init(
      stage: try Reading.name(message.stage, "a stage's name"), queued: message.queued, running: message.running,
      done: message.done, failed: message.failed, stepsDone: message.steps_done, stepsTotal: message.steps_total,
      held: message.held)
  }
}

extension SampleStatus {
  fileprivate init(_ message: Weir__V1__SampleStatus) throws(WireError) {
    let stage = try Reading.name(message.stage, "a stage's name")
    let error = try Reading.name(message.error, "a sample's error")
    self.init(
      index: message.index, label: message.label, seed: message.seed, stage: stage.isEmpty ? nil : stage,
      state: try JobState(message.state), attempts: message.attempts, error: error.isEmpty ? nil : error)
  }
}

extension WorkerStatus {
  fileprivate init(_ message: Weir__V1__WorkerStatus) throws(WireError) {
    let stepMilliseconds = try Reading.finite(message.step_ms, "a worker's step_ms")
    let quarantine = try Reading.name(message.quarantine, "a worker's quarantine")
    self.init(
      name: try Reading.name(message.name, "a worker's name"), stage: try Reading.name(message.stage, "a stage's name"),
      pipeline: try Reading.name(message.pipeline, "a pipeline's name"),
      digest: try Reading.digest(message.digest, "a worker's digest"),
      numerics: try Reading.name(message.numerics, "a worker's numerics class"), slots: message.slots,
      running: message.running, finished: message.finished,
      stepMilliseconds: stepMilliseconds == 0 ? nil : stepMilliseconds, silentMilliseconds: message.silent_ms,
      host: try Reading.name(message.host, "a worker's host"), pid: message.pid,
      quarantine: quarantine.isEmpty ? nil : quarantine)
  }
}

extension Refusal.Code {
  fileprivate init(_ code: Weir__V1__RefusalCode) throws(WireError) {
    switch code {
    case WEIR__V1__REFUSAL_CODE__INVALID: self = .invalid
    case WEIR__V1__REFUSAL_CODE__NOT_FOUND: self = .notFound
    case WEIR__V1__REFUSAL_CODE__NOT_READY: self = .notReady
    case WEIR__V1__REFUSAL_CODE__OVERLOADED: self = .overloaded
    case WEIR__V1__REFUSAL_CODE__UNSUPPORTED_VERSION: self = .unsupportedVersion
    case WEIR__V1__REFUSAL_CODE__TOO_LATE: self = .tooLate
    default: throw WireError(.invalidField, "the refusal code \(code.rawValue) is unknown")
    }
  }
}

extension Priority {
  fileprivate init(_ priority: Weir__V1__Priority) throws(WireError) {
    switch priority {
    case WEIR__V1__PRIORITY__NORMAL: self = .normal
    case WEIR__V1__PRIORITY__LOW: self = .low
    case WEIR__V1__PRIORITY__HIGH: self = .high
    default: throw WireError(.invalidField, "the priority \(priority.rawValue) is unknown")
    }
  }
}

extension JobState {
  fileprivate init(_ state: Weir__V1__JobState) throws(WireError) {
    switch state {
    case WEIR__V1__JOB_STATE__QUEUED: self = .queued
    case WEIR__V1__JOB_STATE__RUNNING: self = .running
    case WEIR__V1__JOB_STATE__DONE: self = .done
    case WEIR__V1__JOB_STATE__FAILED: self = .failed
    case WEIR__V1__JOB_STATE__CANCELLED: self = .cancelled
    case WEIR__V1__JOB_STATE__HELD: self = .held
    case WEIR__V1__JOB_STATE__EXPIRED: self = .expired
    default: throw WireError(.invalidField, "the job state \(state.rawValue) is unknown")
    }
  }
}
