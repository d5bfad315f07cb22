import CTorchBridge

/// AdamW (Loshchilov & Hutter 2019, algorithm 2, as torch.optim.AdamW): decoupled weight decay, bias-corrected moments.
///
/// Not thread-safe. One step count serves all parameters.
package final class AdamW {
  package struct Options: Hashable, Sendable {
    package var rate: Double
    package var beta1: Double
    package var beta2: Double
    package var eps: Double
    package var weightDecay: Double

    package init(rate: Double, beta1: Double = 0.9, beta2: Double = 0.999, eps: Double = 1e-8, weightDecay: Double = 0.01) {
      self.rate = rate
      self.beta1 = beta1
      self.beta2 = beta2
      self.eps = eps
      self.weightDecay = weightDecay
    }
  }

  /// May change between steps, for warm-up and decay.
  package var options: Options
  /// Steps made.
  package private(set) var stepCount = 0

  private let names: [String]
  private let parameters: [Tensor]
  private let firstMoments: [Tensor]
  private let secondMoments: [Tensor]

  /// `parameters`: named leaves; names must differ, they name the saved state.
  package init(_ parameters: [(String, Tensor)], options: Options) throws(TorchError) {
    self.options = options
    names = parameters.map(\.0)
    guard Set(names).count == names.count else {
      throw TorchError(operation: "AdamW", message: "two parameters have the same name")
    }
    self.parameters = parameters.map(\.1)
    var first: [Tensor] = []
    var second: [Tensor] = []
    for (_, parameter) in parameters {
      first.append(try parameter.zerosLike())
      second.append(try parameter.zerosLike())
    }
    firstMoments = first
    secondMoments = second
  }

  /// Updates every parameter that has a gradient.
  package func step() throws(TorchError) {
    let next = stepCount + 1
    let status = Tensor.withHandles(parameters) { parameters, count in
      Tensor.withHandles(firstMoments) { first, _ in
        Tensor.withHandles(secondMoments) { second, _ in
          wt_adamw_step(
            parameters, first, second, count, Int64(next), options.rate, options.beta1, options.beta2, options.eps,
            options.weightDecay)
        }
      }
    }
    try check("AdamW.step", status)
    stepCount = next
  }

  package func clearGradients() throws(TorchError) {
    for parameter in parameters { try parameter.clearGrad() }
  }

  /// `step` (i64), and `NAME.m` and `NAME.v` for each parameter; the moments share memory with the optimiser's.
  package func state() throws(TorchError) -> [(String, Tensor)] {
    var state = [("step", try Tensor([Int64(stepCount)], shape: [1]))]
    for (index, name) in names.enumerated() {
      state.append((name + ".m", firstMoments[index]))
      state.append((name + ".v", secondMoments[index]))
    }
    return state
  }

  /// Takes over what `state` gave: every name must be there, with the parameter's shape. Nothing changes on an error about names
  /// or shapes.
  package func load(_ state: [String: Tensor]) throws(TorchError) {
    guard let stored = state["step"], stored.count == 1 else {
      throw TorchError(operation: "AdamW.load", message: "the state has no 'step'")
    }
    var pairs: [(Tensor, Tensor)] = []
    for (index, name) in names.enumerated() {
      for (target, key) in [(firstMoments[index], name + ".m"), (secondMoments[index], name + ".v")] {
        guard let source = state[key] else { throw TorchError(operation: "AdamW.load", message: "the state has no '\(key)'") }
        guard source.shape == target.shape else {
          throw TorchError(
            operation: "AdamW.load", message: "'\(key)' has shape \(source.shape), the parameter has \(target.shape)")
        }
        pairs.append((target, source))
      }
    }
    let steps = try stored.integers()
    guard let count = steps.first, count >= 0 else {
      throw TorchError(operation: "AdamW.load", message: "'step' is negative")
    }
    for (target, source) in pairs { try target.copy_(source) }
    stepCount = Int(count)
  }
}
