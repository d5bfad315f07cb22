import Dispatch
import Synchronization

/// The results of `body` for 0 ..< count, at most `threads` of them computed at a time, each on one thread from beginning to end.
///
/// - Throws: the first error met; samples not yet begun are then left out.
func concurrentSamples<Result>(_ count: Int, threads: Int, _ body: (Int) throws -> Result) throws -> [Result] {
  let lanes = min(threads, count)
  guard lanes > 1 else { return try (0..<count).map(body) }
  // Each lane writes only the places it took a number for, and everything is read when all lanes have ended.
  nonisolated(unsafe) let body = body
  nonisolated(unsafe) let results = UnsafeMutableBufferPointer<Swift.Result<Result, any Error>?>.allocate(capacity: count)
  results.initialize(repeating: nil)
  defer {
    results.deinitialize()
    results.deallocate()
  }
  let next = Atomic(0)
  let hasFailed = Atomic(false)
  DispatchQueue.concurrentPerform(iterations: lanes) { _ in
    while !hasFailed.load(ordering: .relaxed) {
      let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
      guard index < count else { return }
      results[index] = Swift.Result { try body(index) }
      if case .failure = results[index] { hasFailed.store(true, ordering: .relaxed) }
    }
  }
  for case .failure(let error)? in results { throw error }
  return try results.compactMap { try $0?.get() }
}
