import Wire

/// A task in a worker's hands.
struct Lease {
  enum Holder: Hashable {
    case worker(PeerID)
    /// Its worker is away and may come back until then. `lost`: why, if the broker did not just restart itself.
    case nobody(until: Int64, lost: String?)
  }

  var attempt: UInt32
  var holder: Holder
  /// Tensor bytes of its assignment.
  var bytes: UInt64
  /// The step it was given to go on from.
  var resumeStep: UInt32
  /// When it last took a step.
  var lastProgress: Int64
  /// For its history: when it began, and with whom.
  var startedUnix: UInt64
  var workerName = ""
  var numerics = ""
  var firstStep: UInt32 = 0
  var stepMilliseconds: Double?
  /// It repeats a stage that its sample has passed, to find out who computes wrongly.
  var isTrial = false

  var worker: PeerID? {
    if case .worker(let peer) = holder { peer } else { nil }
  }
}

struct LeaseTable {
  private var byTask: [TaskID: Lease] = [:]

  var count: Int { byTask.count }
  var all: some Sequence<(key: TaskID, value: Lease)> { byTask }

  subscript(task: TaskID) -> Lease? {
    get { byTask[task] }
    set { byTask[task] = newValue }
  }

  /// Tasks whose worker did not come back in time. Sorted, so that a run can be replayed.
  func abandoned(at now: Int64) -> [TaskID] {
    byTask.filter { if case .nobody(let until, _) = $0.value.holder { until <= now } else { false } }.map(\.key)
      .sorted(by: TaskID.isOlder)
  }

  /// The broker was not running for a while: that is nobody's lack of progress.
  mutating func excuse(_ milliseconds: Int64) {
    for index in byTask.values.indices {
      byTask.values[index].lastProgress += milliseconds
      if case .nobody(let until, let lost) = byTask.values[index].holder {
        byTask.values[index].holder = .nobody(until: until + milliseconds, lost: lost)
      }
    }
  }
}

extension TaskID {
  static func isOlder(_ a: TaskID, _ b: TaskID) -> Bool {
    (a.job, a.sample, a.stage) < (b.job, b.sample, b.stage)
  }
}
