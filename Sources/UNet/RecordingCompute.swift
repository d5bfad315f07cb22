import Tensors

/// A convolution or linear layer of a pass, with the input it met, as oneDNN or the device's library computes it.
package struct MatrixProduct {
  /// Multiplications and additions, each counted.
  package let operations: Int
  let run: () throws -> Void
}

/// Computes as serving does and keeps every product it meets.
struct RecordingCompute: Compute {
  final class Log {
    var products: [MatrixProduct] = []
  }

  let base: ServedCompute
  let log = Log()

  init(_ base: ServedCompute) { self.base = base }

  func linear(_ x: Tensor, _ layer: Affine<ServedParameter>) throws(TorchError) -> Tensor {
    let y = try base.linear(x, layer)
    let base = base
    log.products.append(MatrixProduct(operations: 2 * x.count * (y.shape.last ?? 0)) { _ = try base.linear(x, layer) })
    return y
  }

  func rows(_ table: ServedParameter, _ indices: Tensor) throws(TorchError) -> Tensor { try base.rows(table, indices) }

  func prepare(_ embedding: Tensor) throws(TorchError) -> Tensor {
    try linear(embedding.silu(), base.projection)
  }

  func modulation(_ block: ResidualBlock<ServedParameter>, _ embedding: Tensor) throws(TorchError) -> Tensor {
    try base.modulation(block, embedding)
  }

  func convolve(_ x: Tensor, _ layer: Convolution<ServedParameter>, adding residual: Tensor?) throws(TorchError) -> Tensor {
    let y = try base.convolve(x, layer, adding: residual)
    let operations = 2 * y.count * (layer.weight.shape?.dropFirst().reduce(1, *) ?? 0)
    let base = base
    switch layer.weight {
    case .winograd, .pointwise, .packed:
      // What it is measured against is the library's convolution, packed for the threads it is to have; its time does not depend on the numbers.
      let weight = try Tensor.randn(shape: layer.weight.shape ?? [], seed: 0).to(x.dtype)
      if PackedConvolutionWeight.isSupported(try x.dtype) {
        let packed = try PackedConvolutionWeight(weight, stride: layer.stride, padding: layer.padding, input: x.shape)
        log.products.append(MatrixProduct(operations: operations) { _ = try x.conv2dPacked(weight: packed) })
      } else {
        log.products.append(
          MatrixProduct(operations: operations) { _ = try x.conv2d(weight, stride: layer.stride, padding: layer.padding) })
      }
    case .tensor, .joined:
      log.products.append(MatrixProduct(operations: operations) { _ = try base.convolve(x, layer, adding: nil) })
    }
    return y
  }

  func normalise(
    _ x: Tensor, _ layer: Affine<ServedParameter>, scaleShift: (scale: Tensor, shift: Tensor)?, activate: Bool, overwriting: Bool
  ) throws(TorchError) -> Tensor {
    try base.normalise(x, layer, scaleShift: scaleShift, activate: activate, overwriting: overwriting)
  }

  func join(_ x: Tensor, _ skip: Tensor) throws(TorchError) -> Tensor { try base.join(x, skip) }
  func resample(_ x: Tensor, _ resample: Resample) throws(TorchError) -> Tensor { try base.resample(x, resample) }

  func attend(_ qkv: Tensor, heads: Int, newOrder: Bool) throws(TorchError) -> Tensor {
    try base.attend(qkv, heads: heads, newOrder: newOrder)
  }

  func dropout(_ x: Tensor) throws(TorchError) -> Tensor { x }
}
