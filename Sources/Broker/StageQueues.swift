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
  }

  private var lines: [StageKey: [Priority: Line]] = [:]

  /// Stale ones included.
  var count: Int {
    lines.values.reduce(0) { $0 + $1.values.reduce(0) { $0 + $1.waiting.values.reduce(0) { $0 + $1.count } } }
  }

  mutating func push(_ entries: some Collection<Entry>, _ stage: StageKey, _ share: Share) {
    guard !entries.isEmpty else { return }
    if lines[stage]?[share.priority]?.waiting[share.tenant] == nil {
      lines[stage, default: [:]][share.priority, default: Line()].turns.activate(share.tenant)
    }
    lines[stage]?[share.priority]?.waiting[share.tenant, default: []].insert(contentsOf: entries)
  }

  /// Whose turn it is among those that may go, and its first entry.
  func next(_ stage: StageKey, where mayGo: (Share) -> Bool) -> (share: Share, entry: Entry)? {
    guard let classes = lines[stage] else { return nil }
    for priority in Priority.allCases.reversed() {
      guard let line = classes[priority],
        let tenant = line.turns.next(where: { mayGo(Share(priority: priority, tenant: $0)) }), let entry = line.waiting[tenant]?.min
      else { continue }
      return (Share(priority: priority, tenant: tenant), entry)
    }
    return nil
  }

  /// Takes the first entry of a share.
  ///
  /// - Parameter cost: what its tenant is charged, `nil` if the entry was stale.
  mutating func removeFirst(_ stage: StageKey, _ share: Share, cost: Double?, weight: Double) {
    _ = lines[stage]?[share.priority]?.waiting[share.tenant]?.popMin()
    if let cost { lines[stage]?[share.priority]?.turns.charge(share.tenant, cost, weight: weight) }
    if lines[stage]?[share.priority]?.waiting[share.tenant]?.isEmpty == true {
      lines[stage]?[share.priority]?.waiting[share.tenant] = nil
      lines[stage]?[share.priority]?.turns.deactivate(share.tenant)
    }
  }
}
