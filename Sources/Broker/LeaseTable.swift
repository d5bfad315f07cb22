import Wire

/// A task in a worker's hands.
struct Lease {
  var attempt: UInt32
  /// `nil`: leased before a restart, by a worker that has not come back yet.
  var worker: PeerID?
  /// Tensor bytes of its assignment.
  var bytes: UInt64
  /// The step it was given to go on from.
  var resumeStep: UInt32
  /// When it last took a step.
  var lastProgress: Int64
}

struct LeaseTable {
  private var byTask: [TaskID: Lease] = [:]
  /// When tasks without a worker are given up and queued again; `nil`: there are none.
  var orphanDeadline: Int64?

  var count: Int { byTask.count }
  var all: some Sequence<(key: TaskID, value: Lease)> { byTask }

  subscript(task: TaskID) -> Lease? {
    get { byTask[task] }
    set { byTask[task] = newValue }
  }

  /// Sorted, so that a run can be replayed.
  var orphans: [TaskID] {
    byTask.filter { $0.value.worker == nil }.map(\.key).sorted(by: TaskID.isOlder)
  }

  func stalled(since: Int64) -> [TaskID] {
    byTask.filter { $0.value.worker != nil && $0.value.lastProgress <= since }.map(\.key).sorted(by: TaskID.isOlder)
  }

  /// The broker was not running for a while: that is nobody's lack of progress.
  mutating func excuse(_ milliseconds: Int64) {
    for index in byTask.values.indices { byTask.values[index].lastProgress += milliseconds }
  }
}

extension TaskID {
  static func isOlder(_ a: TaskID, _ b: TaskID) -> Bool {
    (a.job, a.sample, a.stage) < (b.job, b.sample, b.stage)
  }
}
