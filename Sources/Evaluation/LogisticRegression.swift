import Tensors

/// Multinomial logistic regression on features, each brought to mean 0 and deviation 1: minimises the mean cross-entropy plus ½·penalty·‖W‖².
///
/// The problem is convex, and all images are used at every step, from zero weights on: the result is a function of the features and labels alone.
struct LogisticRegression {
  private let mean, deviation: Tensor
  /// (D, C) and (C) f64.
  private let weight, bias: Tensor

  /// Accelerated gradient descent that begins anew where it overshoots (Nesterov 1983; O'Donoghue and Candès 2015), until no part of the gradient
  /// exceeds `tolerance`, or for `maxSteps`.
  ///
  /// - Parameters:
  ///   - set: with labels in 0..<classes.
  init(_ set: FeatureSet, classes: Int, penalty: Double = 0.01, tolerance: Double = 1e-5, maxSteps: Int = 2_000) throws {
    guard let labels = set.labels, labels.allSatisfy((0..<classes).contains) else {
      throw EvaluationError("a classifier learns from images whose classes are known")
    }
    mean = try set.features.mean(dims: [0])
    let centred = try set.features.sub(mean)
    let spread = try centred.square().mean(dims: [0]).sqrt()
    // A feature that is the same in all images stays 0.
    deviation = try Tensor(spread.doubles().map { $0 > 1e-12 ? $0 : 1 }, shape: spread.shape)
    let x = try centred.div(deviation)
    let transposed = try x.transpose(0, 1)
    let wanted = try Tensor(labels.flatMap { label in (0..<classes).map { $0 == label ? 1.0 : 0 } }, shape: [set.count, classes])
    let count = Double(set.count)

    // The curvature of the cross-entropy is at most half of that of the squared features, or of the bias, which is 1.
    let step = 1 / (0.5 * max(1, try Self.largestCurvature(x)) + penalty)
    var weight = try Tensor.zeros(shape: [set.width, classes], dtype: .f64)
    var bias = try Tensor.zeros(shape: [classes], dtype: .f64)
    var (ahead, biasAhead) = (weight, bias)
    var momentum = 1.0
    for _ in 0..<maxSteps {
      let error = try x.matmul(ahead).add(biasAhead).softmax(dim: 1).sub(wanted).div(count)
      let slope = try transposed.matmul(error).add(ahead.mul(penalty))
      let biasSlope = try error.sum(dims: [0])
      if try max(slope.largest(), biasSlope.largest()) <= tolerance {
        (weight, bias) = (ahead, biasAhead)
        break
      }
      let (next, nextBias) = (try ahead.sub(slope.mul(step)), try biasAhead.sub(biasSlope.mul(step)))
      let (move, biasMove) = (try next.sub(weight), try nextBias.sub(bias))
      let overshoots = try slope.mul(move).sum().item() + biasSlope.mul(biasMove).sum().item() > 0
      let grown = overshoots ? 1 : (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
      let factor = overshoots ? 0 : (momentum - 1) / grown
      (ahead, biasAhead) = (try next.add(move.mul(factor)), try nextBias.add(biasMove.mul(factor)))
      (weight, bias, momentum) = (next, nextBias, grown)
    }
    (self.weight, self.bias) = (weight, bias)
  }

  /// Before the softmax, (N, C) f64.
  func logits(_ set: FeatureSet) throws -> Tensor { try set.features.sub(mean).div(deviation).matmul(weight).add(bias) }

  /// The largest eigenvalue of xᵀx / N, a little above it, by power iteration.
  private static func largestCurvature(_ x: Tensor) throws -> Double {
    let (count, width) = (x.shape[0], x.shape[1])
    let transposed = try x.transpose(0, 1)
    // Not orthogonal to any vector that a data set would have by chance.
    var vector = try Tensor((0..<width).map { 1 + Double($0 % 7) }, shape: [width, 1])
    var value = 0.0
    for _ in 0..<50 {
      let norm = try vector.square().sum().sqrt().item()
      guard norm > 0 else { return 0 }
      vector = try transposed.matmul(x.matmul(vector.div(norm))).div(Double(count))
      value = try vector.square().sum().sqrt().item()
    }
    return 1.1 * value
  }
}

extension Tensor {
  /// The largest magnitude of its elements.
  fileprivate func largest() throws -> Double { try abs().doubles().max() ?? 0 }
}
