import CTorchBridge

extension Tensor {
  /// Of a matrix, descending.
  package func singularValues() throws(TorchError) -> Tensor {
    try Tensor.make("singularValues", keeping: self) { wt_singular_values(handle, $0) }
  }

  /// The upper triangular R with RᵀR = xᵀx of a matrix (N, D), (min(N, D), D): what QR decomposition leaves of it.
  package func triangular() throws(TorchError) -> Tensor {
    try Tensor.make("triangular", keeping: self) { wt_triangular(handle, $0) }
  }
}
