import Broker
import SeededRandom
import Wire

/// A broker's process: the real core, and what is between it and the world. The journal outlives it.
struct SimulatedBroker: ~Copyable {
  /// A message, and how many records were said before it.
  struct Message {
    var action: Action
    var records: Int
  }

  /// What the journal's thread is at, and what waits for it.
  struct Commit {
    var records: [Record]
    var messages: [Message]
    /// Jobs that are said to be cancelled in it.
    var cancelled: [JobID]
  }

  /// Nothing else of a broker's time is measured in the simulation.
  static let workerPort: UInt32 = 7711

  let limits: BrokerLimits
  private let draftBytes: Int
  var core: BrokerCore?
  var life = 0
  var journal = JournalModel()
  var drafts: DraftMemory
  var saboteur: Saboteur
  var random: SplitMix64
  var frozenUntil: Int64 = 0
  var wallOffset: Int64 = 0
  private var start: Int64 = 0
  // The turn that is on.
  var records: [Record] = []
  var messages: [Message] = []
  var isTurnOn = false
  /// That of the turn before, until the disk has it.
  var commit: Commit?
  /// Its records could not be written; they and the messages wait.
  var isStalled = false
  var diskFullUntil: Int64 = 0
  /// Jobs that are said to be cancelled in it.
  var cancelled: [JobID] = []
  /// Records said, and those of them on disk, in this life.
  var said = 0
  var committed = 0
  /// Of the timer that is set.
  var wake: Int64 = .max
  /// What will end it.
  var crash: (point: Fault.CrashPoint, away: Int64)?
  var nextCommitFails: Int64?

  init(_ plan: SimulationPlan, _ plant: Plant?) {
    limits = plan.limits
    draftBytes = plan.draftBytes
    drafts = DraftMemory(limit: draftBytes)
    saboteur = Saboteur(plant)
    random = .stream(plan.seed, 1)
  }

  var isUp: Bool { core != nil }

  /// A process counts time from its own start.
  func instant(_ now: Int64) -> Instant {
    Instant(milliseconds: now - start, unixMilliseconds: UInt64(1_700_000_000_000 + now + wallOffset))
  }

  /// In simulated time.
  func time(ofWake milliseconds: Int64) -> Int64 { milliseconds == .max ? .max : start + milliseconds }

  mutating func begin(at now: Int64) {
    life += 1
    start = now
    wake = .max
    said = 0
    committed = 0
    var core = BrokerCore(
      limits: saboteur.limits(limits), restoring: saboteur.restored(journal.snapshot), at: saboteur.instant(instant(now)))
    core.listening(onWorkerPort: Self.workerPort)
    self.core = consume core
  }

  /// What is in memory and nowhere else.
  func draft(_ key: TensorKey) -> WireTensor? { saboteur.plant == .forgetDrafts ? nil : drafts[key] }

  mutating func die() {
    core = nil
    drafts = DraftMemory(limit: draftBytes)
    life += 1
    records = []
    messages = []
    cancelled = []
    commit = nil
    isTurnOn = false
    isStalled = false
    crash = nil
    nextCommitFails = nil
    frozenUntil = 0
    saboteur.brokerDied()
  }
}
