import HeapModule
import Wire

/// When open jobs have to be done.
struct Deadlines {
  private struct Due: Comparable {
    var time: Int64
    var job: JobID

    static func < (a: Self, b: Self) -> Bool { (a.time, a.job) < (b.time, b.job) }
  }

  /// Of jobs that may have ended meanwhile.
  private var dues: Heap<Due> = []
  private var byShare: [Share: [JobID: Int64]] = [:]

  var nextDue: Int64? { dues.min?.time }

  mutating func insert(_ job: Job) {
    guard job.deadline != .max else { return }
    dues.insert(Due(time: job.deadline, job: job.id))
    byShare[job.share, default: [:]][job.id] = job.deadline
  }

  mutating func remove(_ job: Job) {
    byShare[job.share]?[job.id] = nil
    if byShare[job.share]?.isEmpty == true { byShare[job.share] = nil }
  }

  mutating func takeDue(at now: Int64) -> JobID? {
    guard let first = dues.min, first.time <= now else { return nil }
    return dues.removeMin().job
  }

  /// Open jobs of a share that have to be done no later.
  func jobs(of share: Share, until deadline: Int64) -> [JobID] {
    byShare[share].map { $0.filter { $0.value <= deadline }.map(\.key) } ?? []
  }
}
