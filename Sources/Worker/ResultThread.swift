import Foundation

/// A thread beside the compute thread that makes results of what is finished: reading an image, hashing and copying it takes a millisecond, for which
/// the next step need not wait.
package final class ResultThread: Sendable {
  private let jobs = Jobs()

  package init() {
    Thread.detachNewThread { [jobs] in
      Thread.current.name = "weir-results"
      while let job = jobs.next() {
        job()
        jobs.done()
      }
    }
  }

  deinit { jobs.end() }

  /// Calls `job` on the thread, after all that was given to it before. What it uses must be used by nobody else from now on.
  func perform(_ job: @escaping () -> Void) { jobs.add(job) }

  /// Waits until everything is done.
  func wait() { jobs.waitUntilDone() }
}

private final class Jobs: @unchecked Sendable {
  // Unchecked: all of it is used under the condition's lock only.
  private let condition = NSCondition()
  private var waiting: [() -> Void] = []
  private var isAtWork = false
  private var isEnded = false

  func add(_ job: @escaping () -> Void) {
    condition.withLock { waiting.append(job) }
    condition.broadcast()
  }

  func next() -> (() -> Void)? {
    condition.withLock {
      while waiting.isEmpty, !isEnded { condition.wait() }
      if waiting.isEmpty { return nil }
      isAtWork = true
      return waiting.removeFirst()
    }
  }

  func done() {
    condition.withLock { isAtWork = false }
    condition.broadcast()
  }

  func waitUntilDone() {
    condition.withLock { while isAtWork || !waiting.isEmpty { condition.wait() } }
  }

  func end() {
    condition.withLock { isEnded = true }
    condition.broadcast()
  }
}
