import Dispatch
import Synchronization

/// The results of `body` for 0 ..< count, at most `threads` of them computed at a time. It is told how many threads it may use: one, but
/// where the last ones are fewer than threads, these are divided among them.
///
/// - Throws: the first error met; samples not yet begun are then left out.
func concurrentSamples<Result>(_ count: Int, threads: Int, _ body: (_ index: Int, _ threads: Int) throws -> Result) throws -> [Result] {
  let lanes = min(threads, count)
  let left = count % threads
  @Sendable func share(_ index: Int) -> Int { index < count - left ? 1 : threads / left }
  guard lanes > 1 else { return try (0..<count).map { try body($0, share($0)) } }
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
      results[index] = Swift.Result { try body(index, share(index)) }
      if case .failure = results[index] { hasFailed.store(true, ordering: .relaxed) }
    }
  }
  for case .failure(let error)? in results { throw error }
  return try results.compactMap { try $0?.get() }
}
