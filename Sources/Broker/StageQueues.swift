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
/// An entry can go stale (its sample was cancelled, or an old attempt came back to life); the taker checks. `purge` takes them out once they
/// are more than what is not stale, so that they never pile up where nobody takes.
struct StageQueues {
  struct Entry: Hashable, Comparable {
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

    /// False if the tenant has nothing here.
    mutating func removeFirst(_ tenant: String, cost: Double?, weight: Double) -> Bool {
      guard let index = waiting.index(forKey: tenant) else { return false }
      _ = waiting.values[index].popMin()
      if let cost { turns.charge(tenant, cost, weight: weight) }
      if waiting.values[index].isEmpty {
        waiting.remove(at: index)
        turns.deactivate(tenant)
      }
      return true
    }

    mutating func filter(_ isKept: (Entry) -> Bool) {
      for (tenant, entries) in waiting {
        let kept = entries.unordered.filter(isKept)
        if kept.count == entries.count { continue }
        waiting[tenant] = kept.isEmpty ? nil : Heap(kept)
        if kept.isEmpty { turns.deactivate(tenant) }
      }
    }
  }

  /// A line for each class, the highest last.
  private struct Classes {
    var lines = Array(repeating: Line(), count: Priority.allCases.count)
    /// Stale entries included.
    var count = 0

    mutating func push(_ entries: some Collection<Entry>, _ share: Share) {
      lines[share.priority.rank].push(entries, share.tenant)
      count += entries.count
    }

    mutating func removeFirst(_ share: Share, cost: Double?, weight: Double) {
      if lines[share.priority.rank].removeFirst(share.tenant, cost: cost, weight: weight) { count -= 1 }
    }
  }

  /// Fewer stale entries than this are not worth a purge.
  private static let slack = 64

  private var stages: [StageKey: Classes] = [:]

  /// Stale ones included.
  var count: Int { stages.values.reduce(0) { $0 + $1.count } }
  /// Of those that work was ever queued for.
  var stageCount: Int { stages.count }

  /// Of tenants without work, in the class of a stage that has the most.
  var mostDebts: Int { stages.values.reduce(0) { $1.lines.reduce($0) { max($0, $1.turns.debtCount) } } }

  /// What a stage may hold of which this many samples wait.
  static func bound(waiting: Int) -> Int { waiting == 0 ? 0 : 2 * waiting + slack }

  func count(_ stage: StageKey) -> Int { stages[stage]?.count ?? 0 }

  mutating func push(_ entries: some Collection<Entry>, _ stage: StageKey, _ share: Share) {
    if entries.isEmpty { return }
    stages[stage, default: Classes()].push(entries, share)
  }

  /// Takes out all entries of a stage but one of each sample that waits.
  mutating func purge(_ stage: StageKey, where isWaiting: (Entry) -> Bool) {
    var seen: Set<Entry> = []
    var kept = 0
    for rank in stages[stage]?.lines.indices ?? 0..<0 {
      stages[stage]?.lines[rank].filter { entry in
        guard isWaiting(entry), seen.insert(entry).inserted else { return false }
        kept += 1
        return true
      }
    }
    stages[stage]?.count = kept
  }

  /// Its stages have neither jobs nor workers any more.
  mutating func forget(_ pipeline: PipelineTable.Key) {
    for stage in stages.keys where stage.pipeline == pipeline { stages[stage] = nil }
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
    guard let index = stages.index(forKey: stage) else { return }
    stages.values[index].removeFirst(share, cost: cost, weight: weight)
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
