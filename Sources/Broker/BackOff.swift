import HeapModule
import SeededRandom
import Wire

/// Samples whose task failed, waiting for their next try.
struct BackOff {
  private struct Waiting: Comparable {
    var time: Int64
    var task: TaskRef

    static func < (a: Self, b: Self) -> Bool {
      a.time == b.time ? TaskID.isOlder(a.task.task, b.task.task) : a.time < b.time
    }
  }

  /// Of tasks that may have got another attempt meanwhile.
  private var waiting: Heap<Waiting> = []

  var count: Int { waiting.count }

  /// What it may hold while this many tasks are open.
  static func bound(openTasks: Int) -> Int { 2 * openTasks + 64 }

  /// When the next is due; `nil`: none is.
  var nextDue: Int64? { waiting.min?.time }

  mutating func add(_ failed: TaskRef, until time: Int64) { waiting.insert(Waiting(time: time, task: failed)) }

  /// Takes out all but the first of each task that waits for its next try.
  mutating func purge(where isWaiting: (TaskRef) -> Bool) {
    var seen: Set<TaskRef> = []
    var kept: [Waiting] = []
    while let next = waiting.popMin() { if isWaiting(next.task), seen.insert(next.task).inserted { kept.append(next) } }
    waiting = Heap(kept)
  }

  /// The attempt that failed of a task that is due. It may have got another one meanwhile.
  mutating func takeDue(at now: Int64) -> TaskRef? {
    guard let next = waiting.min, next.time <= now else { return nil }
    return waiting.removeMin().task
  }

  /// Milliseconds until a task is tried again: twice as long from failure to failure, with a jitter that depends on task and attempt, so that
  /// tasks which failed together do not come back together.
  ///
  /// - Parameter failures: in a row, at least 1.
  static func delay(_ failed: TaskRef, failures: UInt32, first: UInt32, longest: UInt32) -> Int64 {
    let whole = min(UInt64(first) << UInt64(min(failures - 1, 31)), UInt64(longest))
    let unit = Double(mix(failed) >> 11) * 0x1p-53
    return Int64(Double(whole) * (0.5 + 0.5 * unit))
  }

  /// A number that is fixed by the attempt's.
  private static func mix(_ ref: TaskRef) -> UInt64 {
    let words = [ref.task.job.rawValue, UInt64(ref.task.sample) << 32 | UInt64(ref.task.stage), UInt64(ref.attempt)]
    return words.reduce(0) { SplitMix64.mix(($0 ^ $1) &+ 0x9e37_79b9_7f4a_7c15) }
  }
}
