package import Tensors

/// exp(mean over images of KL(p(class | image) ‖ p(class))) (Salimans et al. 2016): high if each image is of one class and all classes occur.
///
/// - Parameters:
///   - logits: (N, C), before the softmax.
///   - splits: the score of so many consecutive parts of the set.
/// - Returns: their mean and population standard deviation.
package func inceptionScore(_ logits: Tensor, splits: Int = 1) throws -> (mean: Double, deviation: Double) {
  let count = logits.shape[0]
  guard splits >= 1, splits <= count else { throw EvaluationError("\(count) images do not make \(splits) parts") }
  let probabilities = try logits.to(.f64).softmax(dim: 1)
  let scores = try (0..<splits).map { split in
    let (start, end) = (split * count / splits, (split + 1) * count / splits)
    let part = try probabilities.narrow(dim: 0, start: start, length: end - start)
    let marginal = try part.mean(dims: [0], keepDims: true)
    // 0 · log 0 is 0.
    let logs = try part.clamp(min: 1e-300, max: 1).log().sub(marginal.clamp(min: 1e-300, max: 1).log())
    return try part.mul(logs).sum(dims: [1]).mean().exp().item()
  }
  let mean = scores.reduce(0, +) / Double(splits)
  return (mean, (scores.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(splits)).squareRoot())
}
