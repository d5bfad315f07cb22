import SeededRandom
import Tensors

/// The kernel distance, KID (Bińkowski et al. 2018): the unbiased squared maximum mean discrepancy with the kernel (x·y / D + 1)³.
package struct KernelDistance: Hashable, Sendable {
  /// Over the subsets.
  package var mean: Double
  /// Population standard deviation; 0 of one subset.
  package var deviation: Double

  /// - Parameters:
  ///   - subsets: how many pairs of subsets are drawn, each without replacement.
  ///   - size: images of a subset; `nil`, or as many as there are: all of both sets, once.
  package init(_ a: FeatureSet, _ b: FeatureSet, subsets: Int = 100, size: Int? = 1_000, seed: UInt64 = 0) throws {
    try a.check(against: b)
    guard let size, size < min(a.count, b.count) else {
      mean = try Self.discrepancy(a.features, b.features)
      deviation = 0
      return
    }
    guard size >= 2, subsets >= 1 else {
      throw EvaluationError("subsets need at least two images, and there has to be one: \(subsets) of \(size)")
    }
    var random = SplitMix64(seed: seed)
    func subset(_ set: FeatureSet) throws -> Tensor {
      let chosen = (0..<set.count).shuffled(using: &random).prefix(size).map { Int64($0) }
      return try set.features.indexSelect(dim: 0, Tensor(chosen, shape: [size]))
    }
    let values = try (0..<subsets).map { _ in try Self.discrepancy(subset(a), subset(b)) }
    let mean = values.reduce(0, +) / Double(subsets)
    self.mean = mean
    deviation = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(subsets)).squareRoot()
  }

  /// The diagonals of the kernels of a set with itself do not count; sets may differ in size.
  private static func discrepancy(_ x: Tensor, _ y: Tensor) throws -> Double {
    func kernel(_ p: Tensor, _ q: Tensor) throws -> Tensor {
      try p.matmul(q.transpose(0, 1)).div(Double(p.shape[1])).add(1).pow(3)
    }
    func within(_ p: Tensor) throws -> Double {
      let count = Double(p.shape[0])
      let diagonal = try p.square().sum(dims: [1]).div(Double(p.shape[1])).add(1).pow(3).sum().item()
      return (try kernel(p, p).sum().item() - diagonal) / (count * (count - 1))
    }
    return try within(x) + within(y) - 2 * kernel(x, y).mean().item()
  }
}
