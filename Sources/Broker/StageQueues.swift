import HeapModule
import Wire

/// A pool of interchangeable workers: one stage of one pipeline.
struct StageKey: Hashable, Comparable {
  var pipeline: PipelineTable.Key
  var stage: Int

  static func < (a: Self, b: Self) -> Bool { (a.stage, a.pipeline) < (b.stage, b.pipeline) }
}

/// Samples waiting for a worker, by stage: the highest priority class first; in it the tenant whose turn it is; of its samples the one with
/// the earliest deadline, and of those without one the oldest.
///
/// An entry can go stale (its sample was cancelled, or an old attempt came back to life); the taker checks.
struct StageQueues {
  struct Entry: Comparable {
    var deadline: Int64
    var sequence: UInt64
    var job: JobID
    var sample: UInt32

    init(_ job: Job, _ sample: Int) {
      deadline = job.deadline
      sequence = job.sequence
      self.job = job.id
      self.sample = UInt32(sample)
    }

    static func < (a: Self, b: Self) -> Bool { (a.deadline, a.sequence, a.sample) < (b.deadline, b.sequence, b.sample) }
  }

  /// A priority class of a stage.
  private struct Line {
    var waiting: [String: Heap<Entry>] = [:]
    var turns = FairShare()

    mutating func push(_ entries: some Collection<Entry>, _ tenant: String) {
      if waiting[tenant] == nil { turns.activate(tenant) }
      waiting[tenant, default: []].insert(contentsOf: entries)
    }

    mutating func removeFirst(_ tenant: String, cost: Double?, weight: Double) {
      guard let index = waiting.index(forKey: tenant) else { return }
      _ = waiting.values[index].popMin()
      if let cost { turns.charge(tenant, cost, weight: weight) }
      if waiting.values[index].isEmpty {
        waiting.remove(at: index)
        turns.deactivate(tenant)
      }
    }
  }

  /// A line for each class, the highest last.
  private struct Classes {
    var lines = Array(repeating: Line(), count: Priority.allCases.count)
  }

  private var stages: [StageKey: Classes] = [:]

  /// Stale ones included.
  var count: Int {
    stages.values.reduce(0) { $0 + $1.lines.reduce(0) { $0 + $1.waiting.values.reduce(0) { $0 + $1.count } } }
  }

  mutating func push(_ entries: some Collection<Entry>, _ stage: StageKey, _ share: Share) {
    if entries.isEmpty { return }
    stages[stage, default: Classes()].lines[share.priority.rank].push(entries, share.tenant)
  }

  /// Whose turn it is among those that may go, and its first entry.
  func next(_ stage: StageKey, where mayGo: (Share) -> Bool) -> (share: Share, entry: Entry)? {
    guard let lines = stages[stage]?.lines else { return nil }
    for priority in Priority.descending {
      let line = lines[priority.rank]
      if let tenant = line.turns.next(where: { mayGo(Share(priority: priority, tenant: $0)) }), let entry = line.waiting[tenant]?.min {
        return (Share(priority: priority, tenant: tenant), entry)
      }
    }
    return nil
  }

  /// Takes the first entry of a share.
  ///
  /// - Parameter cost: what its tenant is charged, `nil` if the entry was stale.
  mutating func removeFirst(_ stage: StageKey, _ share: Share, cost: Double?, weight: Double) {
    stages[stage]?.lines[share.priority.rank].removeFirst(share.tenant, cost: cost, weight: weight)
  }
}

extension Priority {
  fileprivate static let descending = Array(allCases.reversed())

  /// Among the classes, the lowest first.
  fileprivate var rank: Int {
    switch self {
    case .low: 0
    case .normal: 1
    case .high: 2
    }
  }
}
