import CProtobufC
import CWeirProto

// Clients' requests and brokers' replies, as C structs.
extension PackArena {
  func pack(_ request: ClientRequest, in envelope: inout Weir__V1__Envelope) throws(WireError) {
    switch request {
    case .submit(let submission):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_SUBMIT
      envelope.submit = try submit(submission)
    case .status(let job, let limit):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_STATUS
      envelope.status = try make(weir__v1__status_request__init) { (message) throws(WireError) in
        message.job = job?.rawValue ?? 0
        message.limit = limit
      }
    case .dead(let limit):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_STATUS
      envelope.status = try make(weir__v1__status_request__init) { (message) throws(WireError) in
        message.limit = limit
        message.dead = 1
      }
    case .release(let job, let keep):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_RELEASE
      envelope.release = try make(weir__v1__release__init) { (message) throws(WireError) in
        message.job = job.rawValue
        (message.n_keep, message.keep) = array(keep)
      }
    case .retry(let job, let samples):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_RETRY
      envelope.retry = try make(weir__v1__retry__init) { (message) throws(WireError) in
        message.job = job.rawValue
        (message.n_samples, message.samples) = array(samples)
      }
    case .history(let job, let sample):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_HISTORY
      envelope.history = try make(weir__v1__history_request__init) { (message) throws(WireError) in
        message.job = job.rawValue
        message.sample = sample
      }
    case .watch(let job):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_WATCH
      envelope.watch = try make(weir__v1__watch__init) { (message) throws(WireError) in message.job = job.rawValue }
    case .fetch(let job, let sample, let stage):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_FETCH
      envelope.fetch = try make(weir__v1__fetch__init) { (message) throws(WireError) in
        message.job = job.rawValue
        message.sample = sample
        message.stage = try name(stage, "a stage's name")
      }
    case .cancel(let job):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_CANCEL
      envelope.cancel = try make(weir__v1__cancel__init) { (message) throws(WireError) in message.job = job.rawValue }
    case .workers:
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_WORKERS
      envelope.workers = try make(weir__v1__workers_request__init) { (_) throws(WireError) in }
    case .locate:
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_LOCATE
      envelope.locate = try make(weir__v1__locate__init) { (_) throws(WireError) in }
    }
  }

  func pack(_ reply: ClientReply, in envelope: inout Weir__V1__Envelope) throws(WireError) {
    switch reply {
    case .accepted(let acceptance):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_ACCEPTED
      envelope.accepted = try make(weir__v1__accepted__init) { (message) throws(WireError) in
        message.job = acceptance.job.rawValue
        message.duplicate = acceptance.duplicate ? 1 : 0
        message.samples = acceptance.samples
      }
    case .refused(let refusal):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_REFUSED
      envelope.refused = try make(weir__v1__refused__init) { (message) throws(WireError) in
        message.code = refusal.code.packed
        message.reason = text(refusal.reason)
        message.retry_after_ms = refusal.retryAfterMilliseconds ?? 0
      }
    case .jobs(let jobs):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_JOBS
      envelope.jobs = try make(weir__v1__job_list__init) { (message) throws(WireError) in
        (message.n_jobs, message.jobs) = try array(jobs, jobStatus)
      }
    case .event(let job):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_EVENT
      envelope.event = try make(weir__v1__event__init) { (message) throws(WireError) in message.status = try jobStatus(job) }
    case .image(let image):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_IMAGE
      envelope.image = try make(weir__v1__image__init) { (message) throws(WireError) in
        message.job = image.job.rawValue
        message.sample = image.sample
        message.label = image.label
        message.seed = image.seed
        message.digest = bytes(image.digest)
        message.numerics = try name(image.numerics, "an image's numerics class")
        message.stage = try name(image.stage, "a stage's name")
      }
    case .cancelled(let cancellation):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_CANCELLED
      envelope.cancelled = try make(weir__v1__cancelled__init) { (message) throws(WireError) in
        message.queued = cancellation.queued
        message.stopped = cancellation.stopped
        message.too_late = cancellation.tooLate
      }
    case .released(let choice):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_RELEASED
      envelope.released = try make(weir__v1__released__init) { (message) throws(WireError) in
        message.kept = choice.kept
        message.cancelled = choice.cancelled
      }
    case .retried(let samples):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_RETRIED
      envelope.retried = try make(weir__v1__retried__init) { (message) throws(WireError) in message.samples = samples }
    case .history(let attempts):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_HISTORY_LIST
      envelope.history_list = try make(weir__v1__history__init) { (message) throws(WireError) in
        (message.n_attempts, message.attempts) = try array(attempts, attempt)
      }
    case .workers(let workers):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_WORKER_LIST
      envelope.worker_list = try make(weir__v1__worker_list__init) { (message) throws(WireError) in
        (message.n_workers, message.workers) = try array(workers, workerStatus)
      }
    case .located(let workerPort):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_LOCATED
      envelope.located = try make(weir__v1__located__init) { (message) throws(WireError) in message.worker_port = workerPort }
    }
  }

  private func submit(_ submission: Submission) throws(WireError) -> UnsafeMutablePointer<Weir__V1__Submit> {
    try make(weir__v1__submit__init) { (message) throws(WireError) in
      message.pipeline = try name(submission.pipeline, "the pipeline")
      (message.n_runs, message.runs) = try array(submission.runs) { (run) throws(WireError) in
        try make(weir__v1__sample_run__init) { (message: inout Weir__V1__SampleRun) throws(WireError) in
          message.label = try name(run.label, "a label")
          message.seed = run.seed
          message.count = run.count
        }
      }
      (message.n_options, message.options) = try array(submission.options, stageOptions)
      message.truncated = submission.truncated ? 1 : 0
      message.key = try name(submission.key, "the idempotency key")
      message.tenant = try name(submission.tenant, "the tenant")
      message.priority = submission.priority.packed
      message.deadline_ms = submission.deadlineMilliseconds ?? 0
      message.hold_after = try name(submission.holdAfter, "a stage's name")
    }
  }

  func stageOptions(_ options: StageOptions) throws(WireError) -> UnsafeMutablePointer<Weir__V1__StageOptions> {
    try make(weir__v1__stage_options__init) { (message) throws(WireError) in
      message.stage = try name(options.stage, "a stage's name")
      message.steps = options.steps ?? 0
      message.sampler = try name(options.sampler ?? "", "a sampler's name")
      if let eta = options.eta {
        message.eta_choice_case = WEIR__V1__STAGE_OPTIONS__ETA_CHOICE_ETA
        message.eta = eta
      }
      if let aug = options.aug {
        message.aug_choice_case = WEIR__V1__STAGE_OPTIONS__AUG_CHOICE_AUG
        message.aug = aug
      }
      if let guidance = options.guidance {
        message.guidance_choice_case = WEIR__V1__STAGE_OPTIONS__GUIDANCE_CHOICE_GUIDANCE
        message.guidance = guidance
      }
    }
  }

  private func jobStatus(_ job: JobStatus) throws(WireError) -> UnsafeMutablePointer<Weir__V1__JobStatus> {
    try make(weir__v1__job_status__init) { (message) throws(WireError) in
      message.job = job.job.rawValue
      message.state = job.state.packed
      message.pipeline = try name(job.pipeline, "the pipeline")
      message.digest = bytes(job.digest)
      message.samples = job.samples
      (message.n_stages, message.stages) = try array(job.stages) { (stage) throws(WireError) in
        try make(weir__v1__stage_status__init) { (message: inout Weir__V1__StageStatus) throws(WireError) in
          message.stage = try name(stage.stage, "a stage's name")
          message.queued = stage.queued
          message.running = stage.running
          message.done = stage.done
          message.failed = stage.failed
          message.steps_done = stage.stepsDone
          message.steps_total = stage.stepsTotal
          message.held = stage.held
        }
      }
      message.submitted_unix_ms = job.submittedUnixMilliseconds
      message.finished_unix_ms = job.finishedUnixMilliseconds ?? 0
      (message.n_details, message.details) = try array(job.details) { (sample) throws(WireError) in
        try make(weir__v1__sample_status__init) { (message: inout Weir__V1__SampleStatus) throws(WireError) in
          message.index = sample.index
          message.label = sample.label
          message.seed = sample.seed
          message.stage = try name(sample.stage ?? "", "a stage's name")
          message.state = sample.state.packed
          message.attempts = sample.attempts
          // There may be a thousand of them.
          message.error = text(sample.error ?? "", limit: WireLimits.nameBytes)
        }
      }
      (message.n_labels, message.labels) = try array(job.labels) { (label) throws(WireError) in try name(label, "a label") }
      (message.n_options, message.options) = try array(job.options, stageOptions)
      message.truncated = job.truncated ? 1 : 0
      message.tenant = try name(job.tenant, "the tenant")
      message.priority = job.priority.packed
      message.deadline_unix_ms = job.deadlineUnixMilliseconds ?? 0
      message.hold_after = try name(job.holdAfter ?? "", "a stage's name")
      message.reason = text(job.reason ?? "", limit: WireLimits.nameBytes)
    }
  }

  private func attempt(_ attempt: Attempt) throws(WireError) -> UnsafeMutablePointer<Weir__V1__Attempt> {
    try make(weir__v1__attempt__init) { (message) throws(WireError) in
      message.sample = attempt.sample
      message.stage = attempt.stage
      message.attempt = attempt.number
      message.worker = try name(attempt.worker, "a worker's name")
      message.numerics = try name(attempt.numerics, "a worker's numerics class")
      message.started_unix_ms = attempt.startedUnixMilliseconds
      message.ended_unix_ms = attempt.endedUnixMilliseconds ?? 0
      message.state = attempt.state.packed
      message.first_step = attempt.firstStep
      message.last_step = attempt.lastStep
      message.step_ms = attempt.stepMilliseconds ?? 0
      message.reason = text(attempt.reason ?? "", limit: WireLimits.nameBytes)
      message.digest = bytes(attempt.digest ?? [])
    }
  }

  private func workerStatus(_ worker: WorkerStatus) throws(WireError) -> UnsafeMutablePointer<Weir__V1__WorkerStatus> {
    try make(weir__v1__worker_status__init) { (message) throws(WireError) in
      message.name = try name(worker.name, "a worker's name")
      message.stage = try name(worker.stage, "a stage's name")
      message.pipeline = try name(worker.pipeline, "a pipeline's name")
      message.digest = bytes(worker.digest)
      message.numerics = try name(worker.numerics, "a worker's numerics class")
      message.slots = worker.slots
      message.running = worker.running
      message.finished = worker.finished
      message.step_ms = worker.stepMilliseconds ?? 0
      message.silent_ms = worker.silentMilliseconds
      message.host = try name(worker.host, "a worker's host")
      message.pid = worker.pid
      message.quarantine = text(worker.quarantine ?? "", limit: WireLimits.nameBytes)
    }
  }
}

extension Refusal.Code {
  fileprivate var packed: Weir__V1__RefusalCode {
    switch self {
    case .invalid: WEIR__V1__REFUSAL_CODE__INVALID
    case .notFound: WEIR__V1__REFUSAL_CODE__NOT_FOUND
    case .notReady: WEIR__V1__REFUSAL_CODE__NOT_READY
    case .overloaded: WEIR__V1__REFUSAL_CODE__OVERLOADED
    case .unsupportedVersion: WEIR__V1__REFUSAL_CODE__UNSUPPORTED_VERSION
    case .tooLate: WEIR__V1__REFUSAL_CODE__TOO_LATE
    }
  }
}

extension Priority {
  fileprivate var packed: Weir__V1__Priority {
    switch self {
    case .low: WEIR__V1__PRIORITY__LOW
    case .normal: WEIR__V1__PRIORITY__NORMAL
    case .high: WEIR__V1__PRIORITY__HIGH
    }
  }
}

extension JobState {
  fileprivate var packed: Weir__V1__JobState {
    switch self {
    case .queued: WEIR__V1__JOB_STATE__QUEUED
    case .running: WEIR__V1__JOB_STATE__RUNNING
    case .done: WEIR__V1__JOB_STATE__DONE
    case .failed: WEIR__V1__JOB_STATE__FAILED
    case .cancelled: WEIR__V1__JOB_STATE__CANCELLED
    case .held: WEIR__V1__JOB_STATE__HELD
    case .expired: WEIR__V1__JOB_STATE__EXPIRED
    }
  }
}
