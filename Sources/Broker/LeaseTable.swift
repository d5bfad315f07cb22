import Wire

/// A task in a worker's hands. One object, known to one table.
final class Lease {
  enum Holder: Hashable {
    case worker(PeerID)
    /// Its worker is away and may come back until then. `lost`: why, if the broker did not just restart itself.
    case nobody(until: Int64, lost: String?)
  }

  enum Origin: Hashable {
    case given
    /// It went on after its worker, or the broker, had been away.
    case adopted
    /// Read from the disk, which does not know who began it, when, and from which step.
    case restored
  }

  let attempt: UInt32
  var holder: Holder
  /// Tensor bytes of its assignment.
  let bytes: UInt64
  /// The step it was given to go on from.
  var resumeStep: UInt32
  /// When it last took a step, or could have begun.
  private(set) var lastProgress: Int64
  /// It took a step. Until then it may be waiting for another of its worker's tasks to end.
  private(set) var hasBegun = false
  /// For its history: when it began, and with whom.
  private(set) var startedUnix: UInt64
  let workerName: String
  let numerics: String
  let firstStep: UInt32
  var stepMilliseconds: Double?
  let origin: Origin
  /// Its worker had no slot for it yet when it was given.
  let wasAhead: Bool
  /// How far it is with a stage that its sample has passed, and that it repeats to find out who computes wrongly.
  var trialStep: UInt32?

  init(
    attempt: UInt32, holder: Holder, bytes: UInt64, resumeStep: UInt32, lastProgress: Int64, startedUnix: UInt64,
    workerName: String = "", numerics: String = "", firstStep: UInt32 = 0, origin: Origin = .given, wasAhead: Bool = false
  ) {
    self.attempt = attempt
    self.holder = holder
    self.bytes = bytes
    self.resumeStep = resumeStep
    self.lastProgress = lastProgress
    self.startedUnix = startedUnix
    self.workerName = workerName
    self.numerics = numerics
    self.firstStep = firstStep
    self.origin = origin
    self.wasAhead = wasAhead
  }

  func noteStep(at now: Int64, unix: UInt64) {
    if wasAhead, !hasBegun { startedUnix = unix }
    hasBegun = true
    lastProgress = now
  }

  /// It could take no step until now, for no fault of its worker.
  func excuse(until now: Int64) { lastProgress = now }

  var isTrial: Bool { trialStep != nil }

  var worker: PeerID? {
    if case .worker(let peer) = holder { peer } else { nil }
  }
}

extension Lease {
  /// For those who look for a fault.
  var summary: String { "attempt \(attempt), held by \(holder)" }
}

struct LeaseTable {
  private var byTask: [TaskID: Lease] = [:]

  var count: Int { byTask.count }
  var all: some Sequence<(key: TaskID, value: Lease)> { byTask }

  subscript(task: TaskID) -> Lease? {
    get { byTask[task] }
    set { byTask[task] = newValue }
  }

  mutating func remove(_ task: TaskID) -> Lease? { byTask.removeValue(forKey: task) }

  /// Tasks whose worker did not come back in time. Sorted, so that a run can be replayed.
  func abandoned(at now: Int64) -> [TaskID] {
    byTask.filter { if case .nobody(let until, _) = $0.value.holder { until <= now } else { false } }.map(\.key)
      .sorted(by: TaskID.isOlder)
  }

  /// The broker was not running for a while: that is nobody's lack of progress.
  func excuse(_ milliseconds: Int64) {
    for lease in byTask.values {
      lease.excuse(until: lease.lastProgress + milliseconds)
      if case .nobody(let until, let lost) = lease.holder { lease.holder = .nobody(until: until + milliseconds, lost: lost) }
    }
  }
}

extension TaskID {
  static func isOlder(_ a: TaskID, _ b: TaskID) -> Bool {
    (a.job, a.sample, a.stage) < (b.job, b.sample, b.stage)
  }
}
