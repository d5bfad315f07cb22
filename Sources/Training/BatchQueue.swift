import Foundation

/// Makes steps' batches on a thread of its own, a few steps ahead of the optimiser.
final class BatchQueue: @unchecked Sendable {
  private let condition = NSCondition()
  // Guarded by `condition`.
  private var ready: [Result<[Batch], TrainingError>] = []
  private var cancelled = false
  private var running = true

  /// - Parameters:
  ///   - firstExample: where the run stands.
  ///   - depth: steps made ahead at most.
  init(maker: BatchMaker, firstExample: UInt64, share: StepShare, depth: Int = 3) {
    let thread = Thread { [self] in
      var maker = maker
      var next = firstExample
      while true {
        let result = Result { () throws(TrainingError) -> [Batch] in
          var batches: [Batch] = []
          for first in share.firsts(from: next) { batches.append(try maker.batch(first: first)) }
          return batches
        }
        next += UInt64(share.examples)
        condition.lock()
        while ready.count >= depth && !cancelled { condition.wait() }
        if !cancelled { ready.append(result) }
        var stops = cancelled
        if case .failure = result { stops = true }
        if stops { running = false }
        condition.broadcast()
        condition.unlock()
        if stops { return }
      }
    }
    thread.name = "batches"
    thread.stackSize = 4 << 20
    thread.start()
  }

  /// The next step's batches, in order.
  func next() throws(TrainingError) -> [Batch] {
    condition.lock()
    while ready.isEmpty && running { condition.wait() }
    let result = ready.isEmpty ? .failure(TrainingError(.data, "the data thread has ended")) : ready.removeFirst()
    condition.broadcast()
    condition.unlock()
    return try result.get()
  }

  /// Ends the thread and waits for it.
  func stop() {
    condition.lock()
    cancelled = true
    condition.broadcast()
    while running { condition.wait() }
    condition.unlock()
  }
}
