/// The messages of `proto/weir/v1/weir.proto` as Swift values. The proto file says what each field means.

/// A job's identity: random 64 bits, written as 16 hexadecimal digits.
public struct JobID: Hashable, Sendable, Comparable, CustomStringConvertible {
  public var rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue }

  public init?(_ text: some StringProtocol) {
    guard text.utf8.count == 16, let value = UInt64(text, radix: 16) else { return nil }
    self.rawValue = value
  }

  public var description: String {
    let digits = String(rawValue, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
  }

  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// One stage of one sample of one job.
public struct TaskID: Hashable, Sendable, CustomStringConvertible {
  public var job: JobID
  public var sample: UInt32
  /// Index into the pipeline's stages.
  public var stage: UInt32

  public init(job: JobID, sample: UInt32, stage: UInt32) {
    self.job = job
    self.sample = sample
    self.stage = stage
  }

  public var description: String { "\(job)-\(sample).\(stage)" }
}

/// A task under an attempt number, which counts from 1.
public struct TaskRef: Hashable, Sendable, CustomStringConvertible {
  public var task: TaskID
  public var attempt: UInt32

  public init(_ task: TaskID, attempt: UInt32) {
    self.task = task
    self.attempt = attempt
  }

  public var description: String { "\(task)#\(attempt)" }
}

public struct TaskProgress: Hashable, Sendable {
  public var task: TaskRef
  public var step: UInt32
  /// In a hello: the step that the worker was given to go on from.
  public var firstStep: UInt32
  /// In a hello: for how long it has been at it.
  public var runningMilliseconds: UInt64

  public init(_ task: TaskRef, step: UInt32, firstStep: UInt32 = 0, runningMilliseconds: UInt64 = 0) {
    self.task = task
    self.step = step
    self.firstStep = firstStep
    self.runningMilliseconds = runningMilliseconds
  }
}

public struct StageInfo: Hashable, Sendable {
  public var name: String
  public var resolution: UInt32
  public var trainSteps: UInt32
  public var defaultSteps: UInt32
  public var defaultSampler: String
  public var defaultAug: UInt32
  public var takesAug: Bool
  /// Weight of classifier-free guidance, 1: none; `nil`: the stage can't be guided.
  public var defaultGuidance: Double?

  public init(
    name: String, resolution: UInt32, trainSteps: UInt32, defaultSteps: UInt32, defaultSampler: String, defaultAug: UInt32 = 0,
    takesAug: Bool = false, defaultGuidance: Double? = nil
  ) {
    self.name = name
    self.resolution = resolution
    self.trainSteps = trainSteps
    self.defaultSteps = defaultSteps
    self.defaultSampler = defaultSampler
    self.defaultAug = defaultAug
    self.takesAug = takesAug
    self.defaultGuidance = defaultGuidance
  }
}

public struct PipelineInfo: Hashable, Sendable {
  public var name: String
  /// SHA-256 over manifest and weights.
  public var digest: [UInt8]
  public var labels: [String]
  public var stages: [StageInfo]

  public init(name: String, digest: [UInt8], labels: [String], stages: [StageInfo]) {
    self.name = name
    self.digest = digest
    self.labels = labels
    self.stages = stages
  }
}

public struct StageOptions: Hashable, Sendable {
  /// Empty: every stage that takes them; options that name a stage come on top.
  public var stage: String
  public var steps: UInt32?
  public var sampler: String?
  public var eta: Double?
  public var aug: UInt32?
  /// Weight of classifier-free guidance; 1: none.
  public var guidance: Double?

  public init(
    stage: String, steps: UInt32? = nil, sampler: String? = nil, eta: Double? = nil, aug: UInt32? = nil, guidance: Double? = nil
  ) {
    self.stage = stage
    self.steps = steps
    self.sampler = sampler
    self.eta = eta
    self.aug = aug
    self.guidance = guidance
  }
}

/// `count` samples of one label with the seeds `seed`, `seed + 1`, … (modulo 2⁶⁴).
public struct SampleRun: Hashable, Sendable {
  /// A name, a number as text, or `all`: this run for each label.
  public var label: String
  public var seed: UInt64
  public var count: UInt32

  public init(label: String, seed: UInt64, count: UInt32 = 1) {
    self.label = label
    self.seed = seed
    self.count = count
  }
}

/// Work of a higher class goes before work of a lower one.
public enum Priority: Hashable, Sendable, Comparable, CaseIterable { case low, normal, high }

public struct Submission: Hashable, Sendable {
  public var pipeline: String
  public var runs: [SampleRun]
  public var options: [StageOptions]
  public var truncated: Bool
  public var key: String
  /// Empty: the broker's default tenant.
  public var tenant: String
  public var priority: Priority
  /// From its arrival at the broker; `nil`: none.
  public var deadlineMilliseconds: UInt64?
  /// The stage after which samples wait to be released; empty: none.
  public var holdAfter: String

  public init(
    pipeline: String = "", runs: [SampleRun], options: [StageOptions] = [], truncated: Bool = false, key: String = "",
    tenant: String = "", priority: Priority = .normal, deadlineMilliseconds: UInt64? = nil, holdAfter: String = ""
  ) {
    self.pipeline = pipeline
    self.runs = runs
    self.options = options
    self.truncated = truncated
    self.key = key
    self.tenant = tenant
    self.priority = priority
    self.deadlineMilliseconds = deadlineMilliseconds
    self.holdAfter = holdAfter
  }
}

public struct Acceptance: Hashable, Sendable {
  public var job: JobID
  public var duplicate: Bool
  public var samples: UInt32

  public init(job: JobID, duplicate: Bool, samples: UInt32) {
    self.job = job
    self.duplicate = duplicate
    self.samples = samples
  }
}

public struct Refusal: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Code: Hashable, Sendable { case invalid, notFound, notReady, overloaded, unsupportedVersion, tooLate }
  public var code: Code
  public var reason: String
  /// `nil`: asking again is of no use.
  public var retryAfterMilliseconds: UInt32?

  public init(_ code: Code, _ reason: String, retryAfterMilliseconds: UInt32? = nil) {
    self.code = code
    self.reason = reason
    self.retryAfterMilliseconds = retryAfterMilliseconds
  }

  public var description: String { reason }
}

public enum JobState: Hashable, Sendable {
  case queued, running, done, failed, cancelled, held, expired

  public var isFinal: Bool { self != .queued && self != .running && self != .held }
}

public struct StageStatus: Hashable, Sendable {
  public var stage: String
  public var queued, running, done, failed: UInt32
  public var stepsDone, stepsTotal: UInt64
  /// Samples that wait before this stage to be released.
  public var held: UInt32

  public init(
    stage: String, queued: UInt32 = 0, running: UInt32 = 0, done: UInt32 = 0, failed: UInt32 = 0, stepsDone: UInt64 = 0,
    stepsTotal: UInt64 = 0, held: UInt32 = 0
  ) {
    self.stage = stage
    self.queued = queued
    self.running = running
    self.done = done
    self.failed = failed
    self.stepsDone = stepsDone
    self.stepsTotal = stepsTotal
    self.held = held
  }
}

public struct SampleStatus: Hashable, Sendable {
  public var index, label: UInt32
  public var seed: UInt64
  /// The stage it is in; `nil` once it is finished.
  public var stage: String?
  public var state: JobState
  public var attempts: UInt32
  public var error: String?

  public init(
    index: UInt32, label: UInt32, seed: UInt64, stage: String?, state: JobState, attempts: UInt32, error: String? = nil
  ) {
    self.index = index
    self.label = label
    self.seed = seed
    self.stage = stage
    self.state = state
    self.attempts = attempts
    self.error = error
  }
}

public struct JobStatus: Hashable, Sendable {
  public var job: JobID
  public var state: JobState
  public var pipeline: String
  public var digest: [UInt8]
  public var samples: UInt32
  public var stages: [StageStatus]
  public var submittedUnixMilliseconds: UInt64
  public var finishedUnixMilliseconds: UInt64?
  /// Only when one job was asked for; the first 1,000.
  public var details: [SampleStatus]
  public var labels: [String]
  public var options: [StageOptions]
  public var truncated: Bool
  public var tenant: String
  public var priority: Priority
  public var deadlineUnixMilliseconds: UInt64?
  /// `nil`: samples are not held, or were released.
  public var holdAfter: String?
  /// Why it expired.
  public var reason: String?

  public init(
    job: JobID, state: JobState, pipeline: String, digest: [UInt8], samples: UInt32, stages: [StageStatus],
    submittedUnixMilliseconds: UInt64, finishedUnixMilliseconds: UInt64? = nil, details: [SampleStatus] = [], labels: [String] = [],
    options: [StageOptions] = [], truncated: Bool = false, tenant: String = "default", priority: Priority = .normal,
    deadlineUnixMilliseconds: UInt64? = nil, holdAfter: String? = nil, reason: String? = nil
  ) {
    self.job = job
    self.state = state
    self.pipeline = pipeline
    self.digest = digest
    self.samples = samples
    self.stages = stages
    self.submittedUnixMilliseconds = submittedUnixMilliseconds
    self.finishedUnixMilliseconds = finishedUnixMilliseconds
    self.details = details
    self.labels = labels
    self.options = options
    self.truncated = truncated
    self.tenant = tenant
    self.priority = priority
    self.deadlineUnixMilliseconds = deadlineUnixMilliseconds
    self.holdAfter = holdAfter
    self.reason = reason
  }
}

public struct FinishedImage: Hashable, Sendable {
  public var job: JobID
  public var sample, label: UInt32
  public var seed: UInt64
  public var digest: [UInt8]
  public var numerics: String
  /// The stage whose output it is.
  public var stage: String
  public var tensor: WireTensor

  public init(
    job: JobID, sample: UInt32, label: UInt32, seed: UInt64, digest: [UInt8], numerics: String, stage: String = "", tensor: WireTensor
  ) {
    self.job = job
    self.sample = sample
    self.label = label
    self.seed = seed
    self.digest = digest
    self.numerics = numerics
    self.stage = stage
    self.tensor = tensor
  }
}

/// What a cancellation did, counted in samples.
public struct Cancellation: Hashable, Sendable {
  public var queued, stopped, tooLate: UInt32

  public init(queued: UInt32, stopped: UInt32, tooLate: UInt32) {
    self.queued = queued
    self.stopped = stopped
    self.tooLate = tooLate
  }
}

/// What a release did, counted in samples.
public struct Choice: Hashable, Sendable {
  public var kept, cancelled: UInt32

  public init(kept: UInt32, cancelled: UInt32) {
    self.kept = kept
    self.cancelled = cancelled
  }
}

/// One worker's go at one stage of a sample.
public struct Attempt: Hashable, Sendable {
  public var sample: UInt32
  /// Index into the job's stages.
  public var stage: UInt32
  /// Counts from 1.
  public var number: UInt32
  /// Its name; empty: not known any more.
  public var worker: String
  public var numerics: String
  public var startedUnixMilliseconds: UInt64
  /// `nil`: it goes on.
  public var endedUnixMilliseconds: UInt64?
  /// `running`, `done`, `failed`, or `cancelled`: it was stopped or handed back.
  public var state: JobState
  /// Steps that were finished when it began and when it ended.
  public var firstStep, lastStep: UInt32
  /// Per sample, guided or not.
  public var stepMilliseconds: Double?
  public var reason: String?
  /// Of its result, if that is the one that the broker kept.
  public var digest: [UInt8]?

  public init(
    sample: UInt32, stage: UInt32, number: UInt32, worker: String, numerics: String, startedUnixMilliseconds: UInt64,
    endedUnixMilliseconds: UInt64? = nil, state: JobState = .running, firstStep: UInt32 = 0, lastStep: UInt32 = 0,
    stepMilliseconds: Double? = nil, reason: String? = nil, digest: [UInt8]? = nil
  ) {
    self.sample = sample
    self.stage = stage
    self.number = number
    self.worker = worker
    self.numerics = numerics
    self.startedUnixMilliseconds = startedUnixMilliseconds
    self.endedUnixMilliseconds = endedUnixMilliseconds
    self.state = state
    self.firstStep = firstStep
    self.lastStep = lastStep
    self.stepMilliseconds = stepMilliseconds
    self.reason = reason
    self.digest = digest
  }
}

public struct WorkerStatus: Hashable, Sendable {
  public var name, stage, pipeline: String
  public var digest: [UInt8]
  public var numerics: String
  public var slots, running: UInt32
  public var finished: UInt64
  /// Per sample, without guidance.
  public var stepMilliseconds: Double?
  public var silentMilliseconds: UInt32
  public var host: String
  public var pid: UInt32
  /// Why it gets no work.
  public var quarantine: String?

  public init(
    name: String, stage: String, pipeline: String, digest: [UInt8], numerics: String, slots: UInt32, running: UInt32, finished: UInt64,
    stepMilliseconds: Double?, silentMilliseconds: UInt32, host: String, pid: UInt32, quarantine: String? = nil
  ) {
    self.name = name
    self.stage = stage
    self.pipeline = pipeline
    self.digest = digest
    self.numerics = numerics
    self.slots = slots
    self.running = running
    self.finished = finished
    self.stepMilliseconds = stepMilliseconds
    self.silentMilliseconds = silentMilliseconds
    self.host = host
    self.pid = pid
    self.quarantine = quarantine
  }
}

/// What a client asks of a broker.
public enum ClientRequest: Hashable, Sendable {
  case submit(Submission)
  /// `nil`: the newest `limit` jobs.
  case status(JobID?, limit: UInt32)
  case watch(JobID)
  /// The output of a stage, or with an empty name the finished image.
  case fetch(JobID, sample: UInt32, stage: String = "")
  case cancel(JobID)
  /// Held samples go on; the job's other open samples are cancelled.
  case release(JobID, keep: [UInt32])
  /// These samples, or with none named all that failed for good.
  case retry(JobID, samples: [UInt32])
  /// The newest `limit` jobs that have samples which failed for good.
  case dead(limit: UInt32)
  /// The attempts at samples from this one on.
  case history(JobID, sample: UInt32)
  case workers
  case locate
}

/// What a broker answers.
public enum ClientReply: Hashable, Sendable {
  case accepted(Acceptance)
  case refused(Refusal)
  case jobs([JobStatus])
  case event(JobStatus)
  case image(FinishedImage)
  case cancelled(Cancellation)
  case released(Choice)
  case retried(samples: UInt32)
  case history([Attempt])
  case workers([WorkerStatus])
  case located(workerPort: UInt32)
}

/// What a worker says when it arrives.
public struct WorkerHello: Hashable, Sendable {
  /// A process that serves several stages says hello for each, by the same name.
  public var name: String
  /// Random; another worker of the same name has another.
  public var boot: UInt64
  public var pipeline: PipelineInfo
  public var stage: String
  public var numerics: String
  /// Tasks it steps together.
  public var slots: UInt32
  /// Tasks it holds beside those, to begin as soon as one of them ends.
  public var prefetch: UInt32
  public var bytes: UInt64
  /// Workers of one name, host and process take turns at computing: what one holds keeps the others waiting.
  public var host: String
  public var pid: UInt32
  public var running: [TaskProgress]

  public init(
    name: String, boot: UInt64, pipeline: PipelineInfo, stage: String, numerics: String, slots: UInt32, prefetch: UInt32 = 0,
    bytes: UInt64, host: String, pid: UInt32, running: [TaskProgress] = []
  ) {
    self.name = name
    self.boot = boot
    self.pipeline = pipeline
    self.stage = stage
    self.numerics = numerics
    self.slots = slots
    self.prefetch = prefetch
    self.bytes = bytes
    self.host = host
    self.pid = pid
    self.running = running
  }
}

public struct TaskCheckpoint: Hashable, Sendable {
  /// Steps finished.
  public var step: UInt32
  /// The sampler's state. Names begin with `checkpoint.`.
  public var tensors: [WireTensor]

  public init(step: UInt32, tensors: [WireTensor]) {
    self.step = step
    self.tensors = tensors
  }
}

public struct TaskResult: Hashable, Sendable {
  public var task: TaskRef
  public var digest: [UInt8]
  public var computeMilliseconds: Double
  /// The step that the worker was given to go on from.
  public var firstStep: UInt32
  /// Of the tensor, if it is not 0.
  public var checksum: UInt64
  /// Named `x0` (or `z_s` from a truncated base stage), f32, (3, R, R).
  public var tensor: WireTensor

  public init(
    task: TaskRef, digest: [UInt8], computeMilliseconds: Double, firstStep: UInt32 = 0, checksum: UInt64 = 0, tensor: WireTensor
  ) {
    self.task = task
    self.digest = digest
    self.computeMilliseconds = computeMilliseconds
    self.firstStep = firstStep
    self.checksum = checksum
    self.tensor = tensor
  }
}

public struct Assignment: Hashable, Sendable {
  public var task: TaskRef
  public var label: UInt32
  public var seed: UInt64
  /// Of every stage, nothing absent.
  public var options: [StageOptions]
  public var truncated: Bool
  /// The previous stage's output.
  public var lowRes: WireTensor?
  public var checkpoint: TaskCheckpoint?

  public init(
    task: TaskRef, label: UInt32, seed: UInt64, options: [StageOptions], truncated: Bool, lowRes: WireTensor? = nil,
    checkpoint: TaskCheckpoint? = nil
  ) {
    self.task = task
    self.label = label
    self.seed = seed
    self.options = options
    self.truncated = truncated
    self.lowRes = lowRes
    self.checkpoint = checkpoint
  }
}

public enum WorkerMessage: Hashable, Sendable {
  case hello(WorkerHello)
  /// Milliseconds of the last step, per sample and pass through the network: a guided step makes two.
  case progress(TaskProgress, stepMilliseconds: Double)
  case checkpoint(TaskRef, TaskCheckpoint)
  case result(TaskResult)
  case failure(TaskRef, reason: String, permanent: Bool)
  case beat(running: [TaskProgress])
  case goodbye(reason: String)
}

public enum WorkerCommand: Hashable, Sendable {
  /// No more than `checkpointBytesPerSecond` of checkpoints of all tasks together; 0: no limit.
  case welcome(
    beatMilliseconds: UInt32, deadMilliseconds: UInt32, checkpointMilliseconds: UInt32, checkpointBytesPerSecond: UInt64 = 0)
  case assign(Assignment)
  case revoke(TaskRef)
  case drain
  case beat
  case disconnect(reason: String)
  case settled(TaskRef)
}
