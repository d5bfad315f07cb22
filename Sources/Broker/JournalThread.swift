import Dispatch
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
    let outcome = Mutex<Outcome?>(nil)
    let isThere = DispatchSemaphore(value: 0)
  }

  private let journal: Journal
  private let queue = DispatchQueue(label: "weir-journal")
  private let handover = Handover()
  private let onOutcome: @Sendable () -> Void
  private(set) var isBusy = false

  /// - Parameter onOutcome: called on this thread when `outcome` has something to give.
  init(_ journal: Journal, onOutcome: @escaping @Sendable () -> Void) {
    self.journal = journal
    self.onOutcome = onOutcome
  }

  /// Begins, when the work before has ended and its outcome was taken.
  func begin(_ work: Work) {
    precondition(!isBusy, "the journal is in use")
    isBusy = true
    // The queue orders what this thread does to it against what the owner does before and after.
    nonisolated(unsafe) let journal = journal
    queue.async { [handover, onOutcome] in
      let outcome = Self.perform(work, on: journal)
      handover.outcome.withLock { $0 = outcome }
      handover.isThere.signal()
      onOutcome()
    }
  }

  /// What came of the work, once; `nil` if there is none, or if it goes on and the caller does not wait.
  func outcome(waits: Bool) -> Outcome? {
    guard isBusy, handover.isThere.wait(timeout: waits ? .distantFuture : .now()) == .success else { return nil }
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
