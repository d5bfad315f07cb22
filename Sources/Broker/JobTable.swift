import DequeModule
import Wire

/// Every job the broker remembers.
struct JobTable {
  private struct Key: Hashable {
    var tenant: String
    var text: String

    init(tenant: String, text: String) {
      self.tenant = tenant
      self.text = text
    }

    init(_ job: Job) { self.init(tenant: job.terms.tenant, text: job.key) }
  }

  private var byID: [JobID: Job] = [:]
  private var byKey: [Key: JobID] = [:]
  /// In order of submission. May name jobs that are forgotten.
  private var order: Deque<JobID> = []
  /// In order of their end.
  private var finished: Deque<JobID> = []
  private var keptSamples = 0
  private var keptBytes: UInt64 = 0
  private(set) var openTasks = 0
  private(set) var openTasksByTenant: [String: Int] = [:]
  private(set) var backlog = Backlog()
  private(set) var nextSequence: UInt64 = 0

  var count: Int { byID.count }
  /// Of finished jobs.
  var finishedSamples: Int { keptSamples }
  /// Entries of the list of all, forgotten ones included.
  var listed: Int { order.count }
  var keyCount: Int { byKey.count }
  var all: some Sequence<Job> { byID.values }

  subscript(id: JobID) -> Job? { byID[id] }

  /// Tenants know nothing of each other's keys.
  func job(forKey key: String, of tenant: String) -> Job? {
    byKey[Key(tenant: tenant, text: key)].flatMap { byID[$0] }
  }

  /// Whether a sample waits for a worker in this stage.
  ///
  /// - Parameter attempt: which has to be its last one; `nil`: whatever that is.
  func isWaiting(_ task: TaskID, after attempt: UInt32? = nil) -> Bool {
    guard let sample = byID[task.job]?.samples[Int(task.sample)] else { return false }
    return sample.phase == .waiting && sample.stage == Int(task.stage) && attempt ?? sample.attempt == sample.attempt
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
    if !job.key.isEmpty { byKey[Key(job)] = job.id }
    order.append(job.id)
    count(job.openTasks, job.terms.tenant)
    countWork(of: job)
    nextSequence = max(nextSequence, job.sequence + 1)
    if job.ending != nil { noteEnd(job) }
  }

  /// Changes a job. It must exist.
  mutating func update<R>(_ id: JobID, _ body: (Job) -> R) -> R {
    guard let job = byID[id] else { preconditionFailure("no job \(id)") }
    return update(job, body)
  }

  /// Changes a job of this table.
  @discardableResult
  mutating func update<R>(_ job: Job, _ body: (Job) -> R) -> R {
    let before = job.openTasks
    let wasOpen = job.ending == nil
    let keptBytesBefore = wasOpen ? 0 : job.keptBytes
    let result = body(job)
    let change = job.openTasks - before
    if change != 0 { count(change, job.terms.tenant) }
    countWork(of: job)
    let isOpen = job.ending == nil
    if wasOpen, !isOpen { noteEnd(job) }
    if !wasOpen, isOpen {
      finished.removeAll { $0 == job.id }
      keptSamples -= job.samples.count
      keptBytes -= keptBytesBefore
    }
    return result
  }

  private mutating func count(_ change: Int, _ tenant: String) {
    openTasks += change
    let ofTenant = openTasksByTenant[tenant, default: 0] + change
    openTasksByTenant[tenant] = ofTenant == 0 ? nil : ofTenant
  }

  /// Brings the backlog up to date.
  private mutating func countWork(of job: Job) {
    for stage in 0..<job.stageCount {
      let work = job.work(inStage: stage)
      let counted = job.counted[stage]
      if work == counted { continue }
      backlog.add(work - counted, StageKey(pipeline: job.pipeline, stage: stage), job.share)
      job.counted[stage] = work
    }
  }

  /// The newest jobs that have samples which failed for good.
  ///
  /// - Parameter tenant: whose; `nil`: everyone's.
  func dead(_ limit: Int, of tenant: String?) -> [Job] {
    newest(limit, of: tenant) { $0.tallies.contains { $0.failed > 0 } }
  }

  func newest(_ limit: Int, of tenant: String?, where isWanted: (Job) -> Bool = { _ in true }) -> [Job] {
    var jobs: [Job] = []
    for id in order.reversed() {
      if jobs.count == limit { break }
      if let job = byID[id], tenant == nil || job.terms.tenant == tenant, isWanted(job) { jobs.append(job) }
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
      if byKey[Key(job)] == id { byKey[Key(job)] = nil }
      keptSamples -= job.samples.count
      keptBytes -= job.keptBytes
      forgotten.append(id)
    }
    if order.count > 2 * byID.count + (byID.isEmpty ? 0 : 64) { order.removeAll { byID[$0] == nil } }
    return forgotten
  }

  private mutating func noteEnd(_ job: Job) {
    finished.append(job.id)
    keptSamples += job.samples.count
    keptBytes += job.keptBytes
  }
}
