import Testing
import Wire
import Worker

/// A core under a clock that moves only when told to.
struct CoreHarness {
  static let port: UInt16 = 7711
  var core: WorkerCore
  var now: Duration = .seconds(100)

  init(slots: UInt32 = 2, prefetch: UInt32 = 0, connectTimeout: Duration? = nil, seed: UInt64 = 1) {
    let hello = WorkerHello(
      name: "w", boot: 7, pipeline: SyntheticEngine.pipeline, stage: "base32", numerics: "synthetic", slots: slots, prefetch: prefetch,
      bytes: 1 << 20, host: "h", pid: 1)
    core = WorkerCore(
      configuration: .init(hello: hello, broker: "tcp://broker:7710", connectTimeout: connectTimeout, jitterSeed: seed))
  }

  mutating func handle(_ event: WorkerCore.Event) -> [WorkerCore.Action] { core.handle(event, at: now) }

  mutating func command(_ command: WorkerCommand) -> [WorkerCore.Action] { handle(.command(command)) }

  /// Moves the clock to the next wake and ticks.
  mutating func wake() -> [WorkerCore.Action] {
    guard let wake = core.nextWake else { return [] }
    now = max(now, wake)
    return handle(.tick)
  }

  /// Ticks whenever the core asks for it until `duration` is over.
  mutating func pass(_ duration: Duration) -> [WorkerCore.Action] {
    let end = now + duration
    var actions: [WorkerCore.Action] = []
    while let next = core.nextWake, next <= end {
      now = max(now, next)
      actions += handle(.tick)
    }
    now = end
    return actions
  }

  /// From the start, or from lost, to welcomed.
  mutating func welcome(beat: UInt32 = 1000, dead: UInt32 = 3000, checkpoint: UInt32 = 2000) -> [WorkerCore.Action] {
    handle(.located(port: UInt32(Self.port)))
      + command(.welcome(beatMilliseconds: beat, deadMilliseconds: dead, checkpointMilliseconds: checkpoint))
  }

  /// A harness that is live.
  static func live(
    slots: UInt32 = 2, prefetch: UInt32 = 0, beat: UInt32 = 1000, dead: UInt32 = 3000, checkpoint: UInt32 = 2000
  ) -> CoreHarness {
    var harness = CoreHarness(slots: slots, prefetch: prefetch)
    _ = harness.handle(.start)
    _ = harness.welcome(beat: beat, dead: dead, checkpoint: checkpoint)
    return harness
  }
}

func ref(_ sample: UInt32, attempt: UInt32 = 1, stage: UInt32 = 0) -> TaskRef {
  TaskRef(TaskID(job: JobID(rawValue: 42), sample: sample, stage: stage), attempt: attempt)
}

func assignment(_ task: TaskRef, label: UInt32 = 0, seed: UInt64 = 0, steps: UInt32 = 3) -> Assignment {
  let stage = SyntheticEngine.pipeline.stages[Int(task.task.stage)].name
  return Assignment(task: task, label: label, seed: seed, options: [StageOptions(stage: stage, steps: steps)], truncated: false)
}

func result(_ task: TaskRef) throws -> TaskResult {
  let tensor = try WireTensor(name: "x0", floats: [0, 1, 2], shape: [3, 1, 1])
  return TaskResult(task: task, digest: tensor.digest, computeMilliseconds: 1, tensor: tensor)
}

extension [WorkerCore.Action] {
  var sent: [WorkerMessage] { compactMap { if case .send(let message) = $0 { message } else { nil } } }
  var toCompute: [ComputeCommand] { compactMap { if case .compute(let command) = $0 { command } else { nil } } }
  var notes: [String] { compactMap { if case .note(_, let text) = $0 { text } else { nil } } }
  var departure: WorkerCore.Departure? {
    lazy.compactMap { if case .leave(let departure) = $0 { departure } else { nil } }.first
  }
  /// All but what is said to people.
  var deeds: Self { filter { if case .note = $0 { false } else { true } } }
}
