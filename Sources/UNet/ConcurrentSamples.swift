import Dispatch
import Synchronization

/// Samples of a batch that go through the network in one pass.
struct Share: Equatable {
  let samples: Range<Int>
  /// How many threads the pass may use.
  let threads: Int

  /// `count` samples in passes of at most `together`, on `threads` threads: each thread gets as many samples as the others, and as few passes as
  /// that makes possible; those that are left over go one by one, the threads divided among them.
  static func all(_ count: Int, threads: Int, together: Int) -> [Share] {
    let (each, left) = count.quotientAndRemainder(dividingBy: threads)
    let passes = (each + together - 1) / together
    var shares: [Share] = []
    var first = 0
    for pass in 0..<passes {
      let size = each * (pass + 1) / passes - each * pass / passes
      for _ in 0..<threads {
        shares.append(Share(samples: first..<first + size, threads: 1))
        first += size
      }
    }
    while first < count {
      shares.append(Share(samples: first..<first + 1, threads: threads / left))
      first += 1
    }
    return shares
  }
}

/// The results of `body` for each of the shares, at most `threads` of them computed at a time.
///
/// - Throws: the first error met; shares not yet begun are then left out.
func concurrently<Result>(_ shares: [Share], threads: Int, _ body: (Share) throws -> Result) throws -> [Result] {
  let lanes = min(threads, shares.count)
  guard lanes > 1 else { return try shares.map(body) }
  // Each lane writes only the places it took a number for, and everything is read when all lanes have ended.
  nonisolated(unsafe) let body = body
  nonisolated(unsafe) let results = UnsafeMutableBufferPointer<Swift.Result<Result, any Error>?>.allocate(capacity: shares.count)
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
      guard index < shares.count else { return }
      results[index] = Swift.Result { try body(shares[index]) }
      if case .failure = results[index] { hasFailed.store(true, ordering: .relaxed) }
    }
  }
  for case .failure(let error)? in results { throw error }
  return try results.compactMap { try $0?.get() }
}
