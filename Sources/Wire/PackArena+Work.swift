import CProtobufC
import CWeirProto

// Workers' messages and brokers' commands, as C structs.
extension PackArena {
  func pack(_ worker: WorkerMessage, in envelope: inout Weir__V1__Envelope) throws(WireError) {
    switch worker {
    case .hello(let greeting):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_HELLO
      envelope.hello = try hello(greeting)
    case .progress(let progress, let stepMilliseconds):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_PROGRESS
      envelope.progress = try make(weir__v1__progress__init) { (message) throws(WireError) in
        message.progress = try taskProgress(progress)
        message.step_ms = stepMilliseconds
      }
    case .checkpoint(let task, let checkpoint):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_CHECKPOINT
      envelope.checkpoint = try make(weir__v1__checkpoint__init) { (message) throws(WireError) in
        message.task = try taskRef(task)
        message.step = checkpoint.step
      }
    case .result(let result):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_RESULT
      envelope.result = try make(weir__v1__result__init) { (message) throws(WireError) in
        message.task = try taskRef(result.task)
        message.digest = bytes(result.digest)
        message.compute_ms = result.computeMilliseconds
        message.first_step = result.firstStep
        message.checksum = result.checksum
      }
    case .failure(let task, let reason, let permanent):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_FAILURE
      envelope.failure = try make(weir__v1__failure__init) { (message) throws(WireError) in
        message.task = try taskRef(task)
        message.reason = text(reason)
        message.permanent = permanent ? 1 : 0
      }
    case .beat(let running):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_BEAT
      envelope.beat = try make(weir__v1__beat__init) { (message) throws(WireError) in
        (message.n_running, message.running) = try array(running, taskProgress)
      }
    case .goodbye(let reason):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_GOODBYE
      envelope.goodbye = try make(weir__v1__goodbye__init) { (message) throws(WireError) in message.reason = text(reason) }
    }
  }

  func pack(_ command: WorkerCommand, in envelope: inout Weir__V1__Envelope) throws(WireError) {
    switch command {
    case .welcome(let beatMilliseconds, let deadMilliseconds, let checkpointMilliseconds, let checkpointBytesPerSecond):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_WELCOME
      envelope.welcome = try make(weir__v1__welcome__init) { (message) throws(WireError) in
        message.beat_ms = beatMilliseconds
        message.dead_ms = deadMilliseconds
        message.checkpoint_ms = checkpointMilliseconds
        message.checkpoint_bytes_per_s = checkpointBytesPerSecond
      }
    case .assign(let assignment):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_ASSIGN
      envelope.assign = try make(weir__v1__assign__init) { (message) throws(WireError) in
        message.task = try taskRef(assignment.task)
        message.label = assignment.label
        message.seed = assignment.seed
        (message.n_options, message.options) = try array(assignment.options, stageOptions)
        message.truncated = assignment.truncated ? 1 : 0
        message.resume_step = assignment.checkpoint?.step ?? 0
      }
    case .revoke(let task):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_REVOKE
      envelope.revoke = try make(weir__v1__revoke__init) { (message) throws(WireError) in message.task = try taskRef(task) }
    case .drain:
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_DRAIN
      envelope.drain = try make(weir__v1__drain__init) { (_) throws(WireError) in }
    case .beat:
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_BEAT
      envelope.beat = try make(weir__v1__beat__init) { (_) throws(WireError) in }
    case .disconnect(let reason):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_DISCONNECT
      envelope.disconnect = try make(weir__v1__disconnect__init) { (message) throws(WireError) in message.reason = text(reason) }
    case .settled(let task):
      envelope.body_case = WEIR__V1__ENVELOPE__BODY_SETTLED
      envelope.settled = try make(weir__v1__settled__init) { (message) throws(WireError) in message.task = try taskRef(task) }
    }
  }

  private func hello(_ hello: WorkerHello) throws(WireError) -> UnsafeMutablePointer<Weir__V1__Hello> {
    try make(weir__v1__hello__init) { (message) throws(WireError) in
      message.name = try name(hello.name, "the worker's name")
      message.boot = hello.boot
      message.pipeline = try pipelineInfo(hello.pipeline)
      message.stage = try name(hello.stage, "the stage's name")
      message.numerics = try name(hello.numerics, "the numerics class")
      message.slots = hello.slots
      message.prefetch = hello.prefetch
      message.bytes = hello.bytes
      message.host = try name(hello.host, "the worker's host")
      message.pid = hello.pid
      (message.n_running, message.running) = try array(hello.running, taskProgress)
    }
  }

  private func pipelineInfo(_ pipeline: PipelineInfo) throws(WireError) -> UnsafeMutablePointer<Weir__V1__PipelineInfo> {
    try make(weir__v1__pipeline_info__init) { (message) throws(WireError) in
      message.name = try name(pipeline.name, "the pipeline's name")
      message.digest = bytes(pipeline.digest)
      (message.n_labels, message.labels) = try array(pipeline.labels) { (label) throws(WireError) in try name(label, "a label") }
      (message.n_stages, message.stages) = try array(pipeline.stages) { (stage) throws(WireError) in
        try make(weir__v1__stage_info__init) { (message: inout Weir__V1__StageInfo) throws(WireError) in
          message.name = try name(stage.name, "a stage's name")
          message.resolution = stage.resolution
          message.train_steps = stage.trainSteps
          message.default_steps = stage.defaultSteps
          message.default_sampler = try name(stage.defaultSampler, "a sampler's name")
          message.default_aug = stage.defaultAug
          message.takes_aug = stage.takesAug ? 1 : 0
          if let guidance = stage.defaultGuidance {
            message.guidance_choice_case = WEIR__V1__STAGE_INFO__GUIDANCE_CHOICE_DEFAULT_GUIDANCE
            message.default_guidance = guidance
          }
        }
      }
    }
  }

  private func taskRef(_ ref: TaskRef) throws(WireError) -> UnsafeMutablePointer<Weir__V1__TaskRef> {
    try make(weir__v1__task_ref__init) { (message) throws(WireError) in
      message.job = ref.task.job.rawValue
      message.sample = ref.task.sample
      message.stage = ref.task.stage
      message.attempt = ref.attempt
    }
  }

  private func taskProgress(_ progress: TaskProgress) throws(WireError) -> UnsafeMutablePointer<Weir__V1__TaskProgress> {
    try make(weir__v1__task_progress__init) { (message) throws(WireError) in
      message.task = try taskRef(progress.task)
      message.step = progress.step
      message.first_step = progress.firstStep
      message.running_ms = progress.runningMilliseconds
    }
  }
}
