import HeapModule
import Wire

/// When open jobs have to be done.
struct Deadlines {
  private struct Due: Comparable {
    var time: Int64
    var job: JobID

    static func < (a: Self, b: Self) -> Bool { (a.time, a.job) < (b.time, b.job) }
  }

  /// Fewer dues of jobs that have ended than this are left where they are.
  private static let slack = 64

  /// Of jobs that may have ended meanwhile: they are taken out when they are more than the others, for a deadline may be years away.
  private var dues: Heap<Due> = []
  private var byShare: [Share: [JobID: Int64]] = [:]
  /// Open jobs that have a deadline.
  private var open = 0

  var count: Int { dues.count }
  var bound: Int { open == 0 ? 0 : 2 * open + Self.slack }

  var nextDue: Int64? { dues.min?.time }

  mutating func insert(_ job: Job) {
    guard job.deadline != .max else { return }
    dues.insert(Due(time: job.deadline, job: job.id))
    if byShare[job.share, default: [:]].updateValue(job.deadline, forKey: job.id) == nil { open += 1 }
    purge()
  }

  mutating func remove(_ job: Job) {
    guard byShare[job.share]?.removeValue(forKey: job.id) != nil else { return }
    open -= 1
    if byShare[job.share]?.isEmpty == true { byShare[job.share] = nil }
    purge()
  }

  private mutating func purge() {
    guard dues.count > bound else { return }
    dues = Heap(byShare.values.flatMap { $0.map { Due(time: $0.value, job: $0.key) } })
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
