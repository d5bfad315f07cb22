import DequeModule
import Wire

/// Every job the broker remembers.
struct JobTable {
  private var byID: [JobID: Job] = [:]
  private var byKey: [String: JobID] = [:]
  /// In order of submission. May name jobs that are forgotten.
  private var order: Deque<JobID> = []
  /// In order of their end.
  private var finished: Deque<JobID> = []
  private var keptSamples = 0
  private var keptBytes: UInt64 = 0
  private(set) var openTasks = 0
  private(set) var nextSequence: UInt64 = 0

  var count: Int { byID.count }
  var all: some Sequence<Job> { byID.values }

  subscript(id: JobID) -> Job? { byID[id] }

  func job(forKey key: String) -> Job? {
    byKey[key].flatMap { byID[$0] }
  }

  func uses(_ pipeline: PipelineTable.Key) -> Bool {
    byID.values.contains { $0.pipeline == pipeline }
  }

  /// A job id that is not taken; 0 means "every job" on the wire.
  func unused(_ id: JobID) -> JobID {
    var id = id
    while id.rawValue == 0 || byID[id] != nil { id.rawValue &+= 1 }
    return id
  }

  mutating func insert(_ job: Job) {
    byID[job.id] = job
    if !job.key.isEmpty { byKey[job.key] = job.id }
    order.append(job.id)
    openTasks += job.openTasks
    nextSequence = max(nextSequence, job.sequence + 1)
    if job.ending != nil { noteEnd(job) }
  }

  /// Changes a job in place. It must exist.
  mutating func update<R>(_ id: JobID, _ body: (inout Job) -> R) -> R {
    guard let index = byID.index(forKey: id) else { preconditionFailure("no job \(id)") }
    let before = byID.values[index].openTasks
    let wasOpen = byID.values[index].ending == nil
    let result = body(&byID.values[index])
    openTasks += byID.values[index].openTasks - before
    if wasOpen, byID.values[index].ending != nil { noteEnd(byID.values[index]) }
    return result
  }

  func newest(_ limit: Int) -> [Job] {
    var jobs: [Job] = []
    for id in order.reversed() {
      if jobs.count == limit { break }
      if let job = byID[id] { jobs.append(job) }
    }
    return jobs
  }

  /// Puts finished jobs in the order of their ends, after they were restored in another.
  mutating func sortFinished() {
    finished.sort { (byID[$0]?.ending?.unixMilliseconds ?? 0) < (byID[$1]?.ending?.unixMilliseconds ?? 0) }
  }

  /// Drops the oldest finished jobs while they exceed the limits, and says which.
  ///
  /// - Parameter end: those that ended before this go in any case, in milliseconds since 1970.
  mutating func forget(samples: Int, bytes: UInt64, endedBefore end: UInt64) -> [JobID] {
    var forgotten: [JobID] = []
    while let oldest = finished.first {
      let isTooMuch = finished.count > 1 && (keptSamples > samples || keptBytes > bytes)
      guard isTooMuch || byID[oldest]?.ending.map({ $0.unixMilliseconds < end }) ?? true, let id = finished.popFirst() else { break }
      guard let job = byID.removeValue(forKey: id) else { continue }
      if byKey[job.key] == id { byKey[job.key] = nil }
      keptSamples -= job.samples.count
      keptBytes -= job.keptBytes
      forgotten.append(id)
    }
    if order.count > 2 * byID.count + 64 { order.removeAll { byID[$0] == nil } }
    return forgotten
  }

  private mutating func noteEnd(_ job: Job) {
    finished.append(job.id)
    keptSamples += job.samples.count
    keptBytes += job.keptBytes
  }
}
