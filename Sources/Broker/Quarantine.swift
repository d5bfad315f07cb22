import DequeModule
import Wire

/// Workers that compute wrongly, and the search for them: two different results of one task in one numerics class are one too many. A third
/// worker repeats the task, and the one that it contradicts gets no more work.
struct Quarantine {
  struct Claim: Hashable {
    var worker: WorkerIdentity
    var digest: ContentDigest
  }

  struct Dispute {
    var numerics: String
    var claims: [Claim]
    /// Of the next attempt.
    var attempt: UInt32
    /// Somebody is at it.
    var isOnTrial = false
    var failedTrials = 0
  }

  /// Results remembered with their makers, and disputes at a time.
  static let limit = 4_096
  private static let maxTrials = 5

  private struct Maker {
    var worker: WorkerIdentity
    /// The last that was given to anybody.
    var attempt: UInt32
  }

  private(set) var reasons: [WorkerIdentity: String] = [:]
  /// The workers in quarantine, in the order in which they came into it.
  private var isolated: Deque<WorkerIdentity> = []
  private(set) var disputes: [TaskID: Dispute] = [:]
  /// Of tasks that had more than one attempt: only these can have two results.
  private var makers: [TaskID: Maker] = [:]
  private var order: Deque<TaskID> = []

  subscript(worker: WorkerIdentity) -> String? { reasons[worker] }

  /// Results whose makers are remembered.
  var makerCount: Int { makers.count }

  mutating func insert(_ record: QuarantineRecord) {
    let worker = WorkerIdentity(name: record.name, boot: record.boot)
    if reasons.updateValue(record.reason, forKey: worker) == nil { isolated.append(worker) }
  }

  /// The worker that is in quarantine the longest, if there are more than `limit`; it is not any more. In all likelihood it has ended long ago.
  mutating func pardonOldest(beyond limit: Int) -> WorkerIdentity? {
    guard isolated.count > limit, let oldest = isolated.popFirst() else { return nil }
    reasons[oldest] = nil
    return oldest
  }

  /// A task that had several attempts was finished.
  ///
  /// - Parameter attempt: the last one.
  mutating func note(_ task: TaskID, maker: WorkerIdentity, attempt: UInt32) {
    guard makers.updateValue(Maker(worker: maker, attempt: attempt), forKey: task) == nil else { return }
    order.append(task)
    if order.count > Self.limit, let oldest = order.popFirst() { makers[oldest] = nil }
  }

  /// Another result of a finished task.
  ///
  /// - Returns: false if that is no dispute between two workers, or it is one that is known.
  mutating func dispute(_ task: TaskID, _ kept: ContentDigest, _ other: Claim, numerics: String) -> Bool {
    guard let maker = makers[task], maker.worker != other.worker, disputes[task] == nil, disputes.count < Self.limit else { return false }
    let claims = [Claim(worker: maker.worker, digest: kept), other]
    disputes[task] = Dispute(numerics: numerics, claims: claims, attempt: maker.attempt &+ 1)
    return true
  }

  /// Disputes of a stage of which nobody is at the trial. Sorted, so that a run can be replayed.
  func open(stage: Int) -> [TaskID] {
    disputes.filter { !$0.value.isOnTrial && Int($0.key.stage) == stage }.map(\.key).sorted(by: TaskID.isOlder)
  }

  mutating func beginTrial(_ task: TaskID) {
    disputes[task]?.isOnTrial = true
    disputes[task]?.attempt &+= 1
    makers[task]?.attempt &+= 1
  }

  /// The trial came to nothing.
  mutating func abandonTrial(_ task: TaskID) {
    disputes[task]?.isOnTrial = false
    disputes[task]?.failedTrials += 1
    if let trials = disputes[task]?.failedTrials, trials >= Self.maxTrials { drop(task) }
  }

  mutating func drop(_ task: TaskID) { disputes[task] = nil }

  /// Ends a dispute.
  ///
  /// - Returns: the worker whose result a third one contradicts while it confirms the other's; `nil` if it confirms neither.
  mutating func settle(_ task: TaskID, _ digest: ContentDigest) -> WorkerIdentity? {
    guard let claims = disputes.removeValue(forKey: task)?.claims, claims.contains(where: { $0.digest == digest }) else { return nil }
    return claims.first { $0.digest != digest }?.worker
  }
}
