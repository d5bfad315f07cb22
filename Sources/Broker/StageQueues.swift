import HeapModule
import Wire

/// A pool of interchangeable workers: one stage of one pipeline.
struct StageKey: Hashable, Comparable {
  var pipeline: PipelineTable.Key
  var stage: Int

  static func < (a: Self, b: Self) -> Bool { (a.stage, a.pipeline) < (b.stage, b.pipeline) }
}

/// Samples waiting for a worker, by stage: first those of the oldest job, in their order.
///
/// An entry can go stale (its sample was cancelled, or an old attempt came back to life); the taker checks.
struct StageQueues {
  struct Entry: Comparable {
    var sequence: UInt64
    var job: JobID
    var sample: UInt32

    static func < (a: Self, b: Self) -> Bool { (a.sequence, a.sample) < (b.sequence, b.sample) }
  }

  private var heaps: [StageKey: Heap<Entry>] = [:]

  /// Stale ones included.
  var count: Int { heaps.values.reduce(0) { $0 + $1.count } }

  mutating func push(_ entry: Entry, _ stage: StageKey) {
    heaps[stage, default: []].insert(entry)
  }

  mutating func push(_ entries: some Sequence<Entry>, _ stage: StageKey) {
    heaps[stage, default: []].insert(contentsOf: entries)
  }

  func first(_ stage: StageKey) -> Entry? { heaps[stage]?.min }

  mutating func removeFirst(_ stage: StageKey) {
    _ = heaps[stage]?.popMin()
    if heaps[stage]?.isEmpty == true { heaps[stage] = nil }
  }
}
