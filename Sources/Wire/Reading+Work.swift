import CProtobufC
import CWeirProto

// Workers' messages and brokers' commands, out of C structs.

extension WorkerMessage {
  init(_ envelope: Weir__V1__Envelope, _ tensors: [WireTensor]) throws(WireError) {
    switch envelope.body_case {
    case WEIR__V1__ENVELOPE__BODY_CHECKPOINT, WEIR__V1__ENVELOPE__BODY_RESULT: break
    default: try Reading.noTensors(tensors)
    }
    switch envelope.body_case {
    case WEIR__V1__ENVELOPE__BODY_HELLO: self = .hello(try WorkerHello(try Reading.required(envelope.hello, "hello")))
    case WEIR__V1__ENVELOPE__BODY_PROGRESS:
      let message = try Reading.required(envelope.progress, "progress")
      self = .progress(
        try TaskProgress(try Reading.required(message.progress, "the progress")),
        stepMilliseconds: try Reading.finite(message.step_ms, "step_ms"))
    case WEIR__V1__ENVELOPE__BODY_CHECKPOINT:
      let message = try Reading.required(envelope.checkpoint, "checkpoint")
      try WireCodec.checkCheckpointNames(tensors)
      self = .checkpoint(try TaskRef(message.task), TaskCheckpoint(step: message.step, tensors: tensors))
    case WEIR__V1__ENVELOPE__BODY_RESULT:
      let message = try Reading.required(envelope.result, "result")
      self = .result(
        TaskResult(
          task: try TaskRef(message.task), digest: try Reading.digest(message.digest, "a result's digest"),
          computeMilliseconds: try Reading.finite(message.compute_ms, "compute_ms"), firstStep: message.first_step,
          checksum: message.checksum, tensor: try Reading.oneTensor(tensors, "a result")))
    case WEIR__V1__ENVELOPE__BODY_FAILURE:
      let message = try Reading.required(envelope.failure, "failure")
      self = .failure(
        try TaskRef(message.task), reason: try Reading.text(message.reason, "a failure's reason"),
        permanent: message.permanent != 0)
    case WEIR__V1__ENVELOPE__BODY_BEAT:
      let message = try Reading.required(envelope.beat, "beat")
      self = .beat(
        running: try Reading.list(message.running, message.n_running) { (progress) throws(WireError) in
          try TaskProgress(progress.pointee)
        })
    case WEIR__V1__ENVELOPE__BODY_GOODBYE:
      self = .goodbye(reason: try Reading.text(try Reading.required(envelope.goodbye, "goodbye").reason, "the reason"))
    default: throw Reading.unexpected(envelope.body_case, "a worker's message")
    }
  }
}

extension WorkerCommand {
  init(_ envelope: Weir__V1__Envelope, _ tensors: [WireTensor]) throws(WireError) {
    if envelope.body_case != WEIR__V1__ENVELOPE__BODY_ASSIGN { try Reading.noTensors(tensors) }
    switch envelope.body_case {
    case WEIR__V1__ENVELOPE__BODY_WELCOME:
      let message = try Reading.required(envelope.welcome, "welcome")
      self = .welcome(
        beatMilliseconds: message.beat_ms, deadMilliseconds: message.dead_ms, checkpointMilliseconds: message.checkpoint_ms,
        checkpointBytesPerSecond: message.checkpoint_bytes_per_s)
    case WEIR__V1__ENVELOPE__BODY_ASSIGN:
      self = .assign(try Assignment(try Reading.required(envelope.assign, "assign"), tensors))
    case WEIR__V1__ENVELOPE__BODY_REVOKE:
      self = .revoke(try TaskRef(try Reading.required(envelope.revoke, "revoke").task))
    case WEIR__V1__ENVELOPE__BODY_DRAIN: self = .drain
    case WEIR__V1__ENVELOPE__BODY_BEAT: self = .beat
    case WEIR__V1__ENVELOPE__BODY_DISCONNECT:
      self = .disconnect(reason: try Reading.text(try Reading.required(envelope.disconnect, "disconnect").reason, "the reason"))
    case WEIR__V1__ENVELOPE__BODY_SETTLED:
      self = .settled(try TaskRef(try Reading.required(envelope.settled, "settled").task))
    default: throw Reading.unexpected(envelope.body_case, "a broker's command")
    }
  }
}

extension Assignment {
  fileprivate init(_ message: Weir__V1__Assign, _ tensors: [WireTensor]) throws(WireError) {
    var lowRes: WireTensor?
    var state: [WireTensor] = []
    for tensor in tensors {
      if tensor.name.hasPrefix(WireCodec.checkpointPrefix) {
        state.append(tensor)
      } else if tensor.name == WireCodec.lowResName, lowRes == nil {
        lowRes = tensor
      } else {
        throw WireError(.invalidTensor, "an assignment has a tensor \(tensor.name) too many; is the broker of another release?")
      }
    }
    guard message.resume_step > 0 || state.isEmpty else {
      throw WireError(.invalidField, "an assignment has a checkpoint but no resume_step")
    }
    self.init(
      task: try TaskRef(message.task), label: message.label, seed: message.seed,
      options: try Reading.list(message.options, message.n_options) { (options) throws(WireError) in
        try StageOptions(options.pointee)
      },
      truncated: message.truncated != 0, lowRes: lowRes,
      checkpoint: message.resume_step > 0 ? TaskCheckpoint(step: message.resume_step, tensors: state) : nil)
  }
}

extension WorkerHello {
  fileprivate init(_ message: Weir__V1__Hello) throws(WireError) {
    self.init(
      name: try Reading.name(message.name, "the worker's name"), boot: message.boot,
      pipeline: try PipelineInfo(try Reading.required(message.pipeline, "the worker's pipeline")),
      stage: try Reading.name(message.stage, "the worker's stage"),
      numerics: try Reading.name(message.numerics, "the worker's numerics class"), slots: message.slots,
      prefetch: message.prefetch, bytes: message.bytes, host: try Reading.name(message.host, "the worker's host"), pid: message.pid,
      running: try Reading.list(message.running, message.n_running) { (progress) throws(WireError) in
        try TaskProgress(progress.pointee)
      })
  }
}

extension PipelineInfo {
  fileprivate init(_ message: Weir__V1__PipelineInfo) throws(WireError) {
    self.init(
      name: try Reading.name(message.name, "the pipeline's name"),
      digest: try Reading.digest(message.digest, "the pipeline's digest"),
      labels: try Reading.list(message.labels, message.n_labels) { (label) throws(WireError) in
        try Reading.name(label, "a label")
      },
      stages: try Reading.list(message.stages, message.n_stages) { (stage) throws(WireError) in try StageInfo(stage.pointee) })
  }
}

extension StageInfo {
  fileprivate init(_ message: Weir__V1__StageInfo) throws(WireError) {
    self.init(
      name: try Reading.name(message.name, "a stage's name"), resolution: message.resolution, trainSteps: message.train_steps,
      defaultSteps: message.default_steps, defaultSampler: try Reading.name(message.default_sampler, "a sampler's name"),
      defaultAug: message.default_aug, takesAug: message.takes_aug != 0)
    if message.guidance_choice_case == WEIR__V1__STAGE_INFO__GUIDANCE_CHOICE_DEFAULT_GUIDANCE {
      defaultGuidance = try Reading.finite(message.default_guidance, "guidance")
    }
  }
}

extension TaskRef {
  fileprivate init(_ message: UnsafeMutablePointer<Weir__V1__TaskRef>?) throws(WireError) {
    let message = try Reading.required(message, "the task")
    self.init(TaskID(job: JobID(rawValue: message.job), sample: message.sample, stage: message.stage), attempt: message.attempt)
  }
}

extension TaskProgress {
  fileprivate init(_ message: Weir__V1__TaskProgress) throws(WireError) {
    self.init(
      try TaskRef(message.task), step: message.step, firstStep: message.first_step, runningMilliseconds: message.running_ms)
  }
}
