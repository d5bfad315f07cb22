import CTorchBridge

extension Tensor {
  /// Of a symmetric matrix: its eigenvalues, ascending, and its eigenvectors as columns.
  package func eigenDecomposition() throws(TorchError) -> (values: Tensor, vectors: Tensor) {
    var vectors: OpaquePointer?
    let values = try Tensor.make("eigenDecomposition", keeping: self) { wt_eigh(handle, $0, &vectors) }
    guard let vectors else { throw TorchError(operation: "eigenDecomposition", message: "the bridge gave no vectors") }
    return (values, Tensor(owning: vectors))
  }
}
