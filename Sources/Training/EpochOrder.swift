import SeededRandom

/// Which image the n-th example of a run uses: each epoch is its own seeded permutation of the set, so that the order depends
/// on (seed, n) only and a resumed run goes on where it was.
package struct EpochOrder: Sendable {
  private let count: Int
  private let seed: UInt64
  private var epoch: UInt64?
  private var permutation: [Int32] = []

  package init(count: Int, seed: UInt64) {
    precondition(count > 0 && count <= Int32.max)
    self.count = count
    self.seed = seed
  }

  package mutating func index(ofExample n: UInt64) -> Int {
    let wanted = n / UInt64(count)
    if epoch != wanted {
      var random = SplitMix64(seed: seed ^ (wanted &* 0x9e37_79b9_7f4a_7c15))
      permutation = Array(0..<Int32(count))
      permutation.shuffle(using: &random)
      epoch = wanted
    }
    return Int(permutation[Int(n % UInt64(count))])
  }
}
