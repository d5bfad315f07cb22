import CLinuxShims
import Dispatch
import Foundation
import Synchronization

/// A thread for the journal: it puts one turn on disk while the broker's own handles the next.
///
/// The journal has one user at a time: this thread while it `isBusy`, the owner otherwise.
final class JournalThread {
  enum Work: Sendable {
    case commit([Record])
    case tidy
  }

  enum Outcome: Sendable {
    case committed
    /// None of the records is on disk.
    case uncommitted([Record], JournalError)
    case tidied
    case untidied(JournalError)
  }

  private final class Handover: Sendable {
    let work = Mutex<Work?>(nil)
    let outcome = Mutex<Outcome?>(nil)
    /// Signalled without work, it ends the thread.
    let mayBegin = DispatchSemaphore(value: 0)
    let hasEnded = DispatchSemaphore(value: 0)
  }

  private let handover = Handover()
  private(set) var isBusy = false

  /// - Parameter onOutcome: called on this thread when `outcome` has something to give.
  init(_ journal: Journal, onOutcome: @escaping @Sendable () -> Void) {
    // The semaphores order what this thread does to it against what the owner does before and after.
    nonisolated(unsafe) let journal = journal
    // One thread from first to last, not a queue's: each thread has memory of its own that it frees into.
    Thread.detachNewThread { [handover] in
      CLinuxShims_set_thread_name("weir-journal")
      while true {
        handover.mayBegin.wait()
        guard let work = handover.work.withLock({ $0.take() }) else { return }
        let outcome = Self.perform(work, on: journal)
        handover.outcome.withLock { $0 = outcome }
        handover.hasEnded.signal()
        onOutcome()
      }
    }
  }

  deinit { handover.mayBegin.signal() }

  /// Begins, when the work before has ended and its outcome was taken.
  func begin(_ work: Work) {
    precondition(!isBusy, "the journal is in use")
    isBusy = true
    handover.work.withLock { $0 = work }
    handover.mayBegin.signal()
  }

  /// What came of the work, once; `nil` if there is none, or if it goes on and the caller does not wait.
  func outcome(waits: Bool) -> Outcome? {
    guard isBusy, handover.hasEnded.wait(timeout: waits ? .distantFuture : .now()) == .success else { return nil }
    isBusy = false
    return handover.outcome.withLock { $0.take() }
  }

  private static func perform(_ work: Work, on journal: Journal) -> Outcome {
    switch work {
    case .commit(let records):
      do throws(JournalError) {
        try journal.commit(records)
        return .committed
      } catch {
        return .uncommitted(records, error)
      }
    case .tidy:
      do throws(JournalError) {
        try journal.tidy()
        return .tidied
      } catch {
        return .untidied(error)
      }
    }
  }
}
