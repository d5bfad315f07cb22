import CTorchBridge

/// Elementwise operations (with broadcasting), products and reductions. All are differentiable.
extension Tensor {
  private func binary(_ name: StaticString, _ op: wt_binary_op, _ other: Tensor) throws(TorchError) -> Tensor {
    try Tensor.make(name, keeping: self, other) { wt_binary(op, handle, other.handle, $0) }
  }

  private func binary(_ name: StaticString, _ op: wt_binary_op, _ number: Double) throws(TorchError) -> Tensor {
    try Tensor.make(name, keeping: self) { wt_binary_scalar(op, handle, number, $0) }
  }

  private func unary(_ name: StaticString, _ op: wt_unary_op) throws(TorchError) -> Tensor {
    try Tensor.make(name, keeping: self) { wt_unary(op, handle, $0) }
  }

  package func add(_ other: Tensor) throws(TorchError) -> Tensor { try binary("add", WT_ADD, other) }
  package func add(_ number: Double) throws(TorchError) -> Tensor { try binary("add", WT_ADD, number) }
  package func sub(_ other: Tensor) throws(TorchError) -> Tensor { try binary("sub", WT_SUB, other) }
  package func sub(_ number: Double) throws(TorchError) -> Tensor { try binary("sub", WT_SUB, number) }
  package func mul(_ other: Tensor) throws(TorchError) -> Tensor { try binary("mul", WT_MUL, other) }
  package func mul(_ number: Double) throws(TorchError) -> Tensor { try binary("mul", WT_MUL, number) }
  package func div(_ other: Tensor) throws(TorchError) -> Tensor { try binary("div", WT_DIV, other) }
  package func div(_ number: Double) throws(TorchError) -> Tensor { try binary("div", WT_DIV, number) }
  package func maximum(_ other: Tensor) throws(TorchError) -> Tensor { try binary("maximum", WT_MAXIMUM, other) }
  package func minimum(_ other: Tensor) throws(TorchError) -> Tensor { try binary("minimum", WT_MINIMUM, other) }

  /// numpy's matrix product, over the last two dimensions.
  package func matmul(_ other: Tensor) throws(TorchError) -> Tensor { try binary("matmul", WT_MATMUL, other) }

  /// (B, n, k) x (B, k, m) -> (B, n, m).
  package func bmm(_ other: Tensor) throws(TorchError) -> Tensor { try binary("bmm", WT_BMM, other) }

  package func neg() throws(TorchError) -> Tensor { try unary("neg", WT_NEG) }
  package func exp() throws(TorchError) -> Tensor { try unary("exp", WT_EXP) }
  package func log() throws(TorchError) -> Tensor { try unary("log", WT_LOG) }
  package func sqrt() throws(TorchError) -> Tensor { try unary("sqrt", WT_SQRT) }
  package func rsqrt() throws(TorchError) -> Tensor { try unary("rsqrt", WT_RSQRT) }
  package func tanh() throws(TorchError) -> Tensor { try unary("tanh", WT_TANH) }
  package func sigmoid() throws(TorchError) -> Tensor { try unary("sigmoid", WT_SIGMOID) }
  package func silu() throws(TorchError) -> Tensor { try unary("silu", WT_SILU) }
  package func relu() throws(TorchError) -> Tensor { try unary("relu", WT_RELU) }
  package func gelu() throws(TorchError) -> Tensor { try unary("gelu", WT_GELU) }
  package func abs() throws(TorchError) -> Tensor { try unary("abs", WT_ABS) }
  package func square() throws(TorchError) -> Tensor { try unary("square", WT_SQUARE) }
  package func sin() throws(TorchError) -> Tensor { try unary("sin", WT_SIN) }
  package func cos() throws(TorchError) -> Tensor { try unary("cos", WT_COS) }

  package func pow(_ exponent: Double) throws(TorchError) -> Tensor {
    try Tensor.make("pow", keeping: self) { wt_pow(handle, exponent, $0) }
  }

  package func clamp(min low: Double, max high: Double) throws(TorchError) -> Tensor {
    try Tensor.make("clamp", keeping: self) { wt_clamp(handle, low, high, $0) }
  }

  /// Zeroes elements with `probability` and scales the rest by 1/(1-probability); the identity when not training.
  package func dropout(_ probability: Double, training: Bool) throws(TorchError) -> Tensor {
    try Tensor.make("dropout", keeping: self) { wt_dropout(handle, probability, training, $0) }
  }

  /// Over all elements.
  package func sum() throws(TorchError) -> Tensor { try reduce("sum", WT_SUM, [], false) }
  package func mean() throws(TorchError) -> Tensor { try reduce("mean", WT_MEAN, [], false) }

  /// Over `dims` (negative ones count from the end); an empty list means all.
  package func sum(dims: [Int], keepDims: Bool = false) throws(TorchError) -> Tensor {
    try reduce("sum", WT_SUM, dims, keepDims)
  }

  package func mean(dims: [Int], keepDims: Bool = false) throws(TorchError) -> Tensor {
    try reduce("mean", WT_MEAN, dims, keepDims)
  }

  private func reduce(_ name: StaticString, _ op: wt_reduction, _ dims: [Int], _ keep: Bool) throws(TorchError) -> Tensor {
    let list = dims.map(Int64.init)
    return try Tensor.make(name, keeping: self) { wt_reduce(op, handle, list, list.count, keep, $0) }
  }

  package func softmax(dim: Int) throws(TorchError) -> Tensor {
    try Tensor.make("softmax", keeping: self) { wt_softmax(handle, Int64(dim), $0) }
  }

  /// Index of the largest element along `dim`, i64; not differentiable.
  package func argmax(dim: Int) throws(TorchError) -> Tensor {
    try Tensor.make("argmax", keeping: self) { wt_argmax(handle, Int64(dim), $0) }
  }
}
