import SeededRandom
import Wire
import ZeroMQ

/// Any of the four kinds of message, with what to do to it.
enum AnyMessage: Hashable {
  case request(ClientRequest, UInt64)
  case reply(ClientReply, UInt64)
  case worker(WorkerMessage)
  case command(WorkerCommand)

  enum Kind: CaseIterable { case request, reply, worker, command }

  var kind: Kind {
    switch self {
    case .request: .request
    case .reply: .reply
    case .worker: .worker
    case .command: .command
    }
  }

  func encode() throws(WireError) -> [Frame] {
    switch self {
    case .request(let message, let number): try WireCodec.encode(message, request: number)
    case .reply(let message, let number): try WireCodec.encode(message, request: number)
    case .worker(let message): try WireCodec.encode(message)
    case .command(let message): try WireCodec.encode(message)
    }
  }

  static func decode(_ frames: [Frame], as kind: Kind) throws(WireError) -> AnyMessage {
    switch kind {
    case .request:
      let (number, message) = try WireCodec.decodeClientRequest(frames)
      return .request(message, number)
    case .reply:
      let (number, message) = try WireCodec.decodeClientReply(frames)
      return .reply(message, number)
    case .worker: return .worker(try WireCodec.decodeWorkerMessage(frames))
    case .command: return .command(try WireCodec.decodeWorkerCommand(frames))
    }
  }

  // MARK: Random ones

  /// One of each, with random contents.
  static func oneOfEach(_ random: inout SplitMix64) -> [AnyMessage] {
    let job = JobID(rawValue: random.number(from: 1))
    let requests: [ClientRequest] = [
      .submit(submission(&random)), .status(nil, limit: random.number(from: 1)), .status(job, limit: random.number()), .watch(job),
      .fetch(job, sample: random.number(), stage: name(&random)), .cancel(job), .workers, .locate,
      .release(job, keep: random.list(upTo: 5) { $0.number() }), .retry(job, samples: random.list(upTo: 5) { $0.number() }),
      .dead(limit: random.number(from: 1)), .history(job, sample: random.number()),
    ]
    let replies: [ClientReply] = [
      .accepted(Acceptance(job: job, duplicate: random.flag(), samples: random.number())), .refused(refusal(&random)),
      .jobs(random.list(upTo: 5, jobStatus)), .event(jobStatus(&random)), .image(image(&random)),
      .cancelled(Cancellation(queued: random.number(), stopped: random.number(), tooLate: random.number())),
      .released(Choice(kept: random.number(), cancelled: random.number())), .retried(samples: random.number()),
      .history(random.list(upTo: 5, attempt)), .workers(random.list(upTo: 5, workerStatus)), .located(workerPort: random.number()),
    ]
    let workers: [WorkerMessage] = [
      .hello(hello(&random)), .progress(taskProgress(&random), stepMilliseconds: real(&random)),
      .checkpoint(taskRef(&random), checkpoint(&random)),
      .result(
        TaskResult(
          task: taskRef(&random), digest: random.bytes(32), computeMilliseconds: real(&random), firstStep: random.number(),
          checksum: random.number(), tensor: tensor(&random, "x0"))),
      .failure(taskRef(&random), reason: name(&random), permanent: random.flag()), .beat(running: random.list(upTo: 8, taskProgress)),
      .goodbye(reason: name(&random)),
    ]
    let commands: [WorkerCommand] = [
      .welcome(
        beatMilliseconds: random.number(), deadMilliseconds: random.number(), checkpointMilliseconds: random.number(),
        checkpointBytesPerSecond: random.number()),
      .assign(assignment(&random)), .revoke(taskRef(&random)), .drain, .beat, .disconnect(reason: name(&random)),
      .settled(taskRef(&random)),
    ]
    return requests.map { .request($0, random.number()) } + replies.map { .reply($0, random.number()) } + workers.map { .worker($0) }
      + commands.map { .command($0) }
  }

  private static func name(_ random: inout SplitMix64) -> String {
    let letters = Array("abz019+._-/ äß漢🦊\n\"\\")
    return String(random.list(upTo: 12) { letters[$0.below(letters.count)] })
  }

  /// Not empty: an empty one may mean that there is none.
  private static func someName(_ random: inout SplitMix64) -> String { "n" + name(&random) }

  private static func real(_ random: inout SplitMix64) -> Double {
    [0, 1, -1.5, 1e-300, .greatestFiniteMagnitude, Double.random(in: 0...1e6, using: &random)][random.below(6)]
  }

  static func tensor(_ random: inout SplitMix64, _ name: String) -> WireTensor {
    let shape = random.list(upTo: 4) { UInt32($0.below(5)) }
    let dtype = random.flag() ? WireTensor.DType.f32 : .u8
    let bytes = shape.reduce(dtype.size) { $0 * Int($1) }
    do {
      return try WireTensor(name: name, dtype: dtype, shape: shape, data: Frame(random.bytes(bytes)))
    } catch {
      fatalError("\(error)")
    }
  }

  private static func taskRef(_ random: inout SplitMix64) -> TaskRef {
    TaskRef(
      TaskID(job: JobID(rawValue: random.number()), sample: random.number(), stage: random.number()), attempt: random.number())
  }

  private static func taskProgress(_ random: inout SplitMix64) -> TaskProgress {
    TaskProgress(taskRef(&random), step: random.number(), firstStep: random.number(), runningMilliseconds: random.number())
  }

  private static func checkpoint(_ random: inout SplitMix64) -> TaskCheckpoint {
    TaskCheckpoint(
      step: random.number(from: 1), tensors: random.list(upTo: 4) { tensor(&$0, "checkpoint." + name(&$0)) })
  }

  private static func stageOptions(_ random: inout SplitMix64) -> StageOptions {
    StageOptions(
      stage: name(&random), steps: random.maybe { $0.number(from: 1) }, sampler: random.maybe(someName), eta: random.maybe(real),
      aug: random.maybe { $0.number() }, guidance: random.maybe(real))
  }

  private static func submission(_ random: inout SplitMix64) -> Submission {
    Submission(
      pipeline: name(&random),
      runs: random.list(upTo: 5) { SampleRun(label: name(&$0), seed: $0.number(), count: $0.number()) },
      options: random.list(upTo: 3, stageOptions), truncated: random.flag(), key: name(&random), tenant: name(&random),
      priority: Priority.allCases[random.below(3)], deadlineMilliseconds: random.maybe { $0.number(from: 1) }, holdAfter: name(&random))
  }

  private static func refusal(_ random: inout SplitMix64) -> Refusal {
    let codes: [Refusal.Code] = [.invalid, .notFound, .notReady, .overloaded, .unsupportedVersion, .tooLate]
    return Refusal(codes[random.below(6)], name(&random), retryAfterMilliseconds: random.maybe { $0.number(from: 1) })
  }

  private static func jobState(_ random: inout SplitMix64) -> JobState {
    [.queued, .running, .done, .failed, .cancelled, .held, .expired][random.below(7)]
  }

  static func sampleStatus(_ random: inout SplitMix64) -> SampleStatus {
    SampleStatus(
      index: random.number(), label: random.number(), seed: random.number(), stage: random.maybe(someName),
      state: jobState(&random), attempts: random.number(), error: random.maybe(someName))
  }

  static func jobStatus(_ random: inout SplitMix64) -> JobStatus {
    JobStatus(
      job: JobID(rawValue: random.number()), state: jobState(&random), pipeline: name(&random), digest: random.bytes(32),
      samples: random.number(),
      stages: random.list(upTo: 3) {
        StageStatus(
          stage: name(&$0), queued: $0.number(), running: $0.number(), done: $0.number(), failed: $0.number(),
          stepsDone: $0.number(), stepsTotal: $0.number(), held: $0.number())
      },
      submittedUnixMilliseconds: random.number(), finishedUnixMilliseconds: random.maybe { $0.number(from: 1) },
      details: random.list(upTo: 4, sampleStatus), labels: random.list(upTo: 4, name), options: random.list(upTo: 3, stageOptions),
      truncated: random.flag(), tenant: name(&random), priority: Priority.allCases[random.below(3)],
      deadlineUnixMilliseconds: random.maybe { $0.number(from: 1) }, holdAfter: random.maybe(someName), reason: random.maybe(someName))
  }

  private static func attempt(_ random: inout SplitMix64) -> Attempt {
    Attempt(
      sample: random.number(), stage: random.number(), number: random.number(), worker: name(&random), numerics: name(&random),
      startedUnixMilliseconds: random.number(), endedUnixMilliseconds: random.maybe { $0.number(from: 1) }, state: jobState(&random),
      firstStep: random.number(), lastStep: random.number(), stepMilliseconds: random.maybe { _ in 2.5 },
      reason: random.maybe(someName), digest: random.maybe { $0.bytes(32) })
  }

  private static func image(_ random: inout SplitMix64) -> FinishedImage {
    FinishedImage(
      job: JobID(rawValue: random.number()), sample: random.number(), label: random.number(), seed: random.number(),
      digest: random.bytes(32), numerics: name(&random), stage: name(&random), tensor: tensor(&random, "x0"))
  }

  static func workerStatus(_ random: inout SplitMix64) -> WorkerStatus {
    WorkerStatus(
      name: name(&random), stage: name(&random), pipeline: name(&random), digest: random.bytes(32), numerics: name(&random),
      slots: random.number(), running: random.number(), finished: random.number(), stepMilliseconds: random.maybe { _ in 12.5 },
      silentMilliseconds: random.number(), host: name(&random), pid: random.number(), quarantine: random.maybe(someName))
  }

  private static func hello(_ random: inout SplitMix64) -> WorkerHello {
    let pipeline = PipelineInfo(
      name: name(&random), digest: random.bytes(32), labels: random.list(upTo: 5, name),
      stages: random.list(upTo: 3) {
        StageInfo(
          name: name(&$0), resolution: $0.number(), trainSteps: $0.number(), defaultSteps: $0.number(), defaultSampler: name(&$0),
          defaultAug: $0.number(), takesAug: $0.flag(), defaultGuidance: $0.maybe(real))
      })
    return WorkerHello(
      name: name(&random), boot: random.number(), pipeline: pipeline, stage: name(&random), numerics: name(&random),
      slots: random.number(), prefetch: random.number(), bytes: random.number(), host: name(&random), pid: random.number(),
      running: random.list(upTo: 4, taskProgress))
  }

  private static func assignment(_ random: inout SplitMix64) -> Assignment {
    Assignment(
      task: taskRef(&random), label: random.number(), seed: random.number(), options: random.list(upTo: 3, stageOptions),
      truncated: random.flag(), lowRes: random.maybe { tensor(&$0, "low_res") }, checkpoint: random.maybe(checkpoint))
  }
}
