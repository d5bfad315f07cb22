import SeededRandom
import Wire
import Worker

/// A worker's process: the real core, outbox and batch around a hash chain, on a thread that steps in virtual time.
final class SimulatedWorker {
  let life: Int
  let plan: SimulationPlan.Machine
  var core: WorkerCore
  var outbox = Outbox()
  /// The socket it has now, by its number in the network.
  var connection: Int?
  private let engine: SimulatedEngine
  private var batch: Batch
  private let reports: Reports
  /// Commands that wait for the end of the step.
  private var inbox: [ComputeCommand] = []
  private var taken: [ComputeCommand] = []
  private(set) var isComputing = false
  /// Of the timer that is set.
  var wake: Duration?

  private final class Reports { var events: [ComputeEvent] = [] }

  init(_ plan: SimulationPlan.Machine, life: Int, pipeline: PipelineInfo, poison: Set<UInt64>, random: inout SplitMix64) throws {
    self.life = life
    self.plan = plan
    let hello = WorkerHello(
      name: plan.name, boot: random.next(), pipeline: pipeline, stage: pipeline.stages[plan.stage].name, numerics: plan.numerics,
      slots: plan.slots, prefetch: plan.prefetch, bytes: plan.bytes, host: "simulation", pid: UInt32(life))
    core = WorkerCore(configuration: .init(hello: hello, broker: "tcp://broker:7710", jitterSeed: random.next()))
    let engine = SimulatedEngine(
      try SyntheticEngine(stage: hello.stage, of: pipeline, stepMilliseconds: 0), stepTime: .milliseconds(plan.stepMilliseconds),
      poison: poison)
    let reports = Reports()
    self.engine = engine
    self.reports = reports
    batch = Batch(engine: engine, slots: Int(plan.slots), now: { engine.time }, report: { reports.events.append($0) })
  }

  func post(_ command: ComputeCommand) { inbox.append(command) }

  func failSteps(_ count: Int) { engine.failures += count }

  /// How long the next turn of the compute thread takes, in milliseconds; `nil`: it has nothing to do, or is at it.
  func beginTurn() -> Int64? {
    guard !isComputing, !inbox.isEmpty || !batch.isIdle else { return nil }
    isComputing = true
    taken = inbox
    inbox = []
    return batch.isIdle && !taken.contains { if case .start = $0 { true } else { false } } ? 0 : plan.stepMilliseconds
  }

  func endTurn() -> [ComputeEvent] {
    isComputing = false
    for command in taken { batch.obey(command) }
    taken = []
    batch.step()
    defer { reports.events = [] }
    return reports.events
  }
}

/// The synthetic engine with steps that take virtual time, and may fail.
private final class SimulatedEngine: Engine {
  private struct BadLuck: Error {}

  private let inner: SyntheticEngine
  private let stepTime: Duration
  private let poison: Set<UInt64>
  private(set) var time: Duration = .zero
  /// Steps that will throw.
  var failures = 0
  var info: EngineInfo { inner.info }

  init(_ inner: SyntheticEngine, stepTime: Duration, poison: Set<UInt64>) {
    self.inner = inner
    self.stepTime = stepTime
    self.poison = poison
  }

  func begin(_ assignment: Assignment) throws -> any TaskRun {
    guard !poison.contains(assignment.seed) else { throw EngineError(.failed, "poison") }
    return try inner.begin(assignment)
  }

  func advance(_ runs: [any TaskRun]) throws {
    time += stepTime
    if failures > 0 {
      failures -= 1
      throw BadLuck()
    }
    try inner.advance(runs)
  }
}
