import Tensors

/// Differentiable: LibTorch's operations on f32 parameters, cast to the activations' type where they are used; on the CPU in our own kernels what
/// takes the most time, convolutions in f32 and GroupNorm.
struct TrainingCompute: Compute {
  /// Probability of dropping an activation; 0 when not training.
  let dropout: Double

  func linear(_ x: Tensor, _ layer: Affine<Tensor>) throws(TorchError) -> Tensor {
    try x.linear(layer.weight, layer.bias)
  }

  func rows(_ table: Tensor, _ indices: Tensor) throws(TorchError) -> Tensor {
    try Tensor.embedding(weight: table, indices: indices)
  }

  func prepare(_ embedding: Tensor) throws(TorchError) -> Tensor {
    try embedding.silu()
  }

  func modulation(_ block: ResidualBlock<Tensor>, _ embedding: Tensor) throws(TorchError) -> Tensor {
    try linear(embedding, block.modulation)
  }

  func convolve(_ x: Tensor, _ layer: Convolution<Tensor>, adding residual: Tensor?) throws(TorchError) -> Tensor {
    let y = try convolve(x, layer)
    guard let residual else { return y }
    return try residual.add(y)
  }

  private func convolve(_ x: Tensor, _ layer: Convolution<Tensor>) throws(TorchError) -> Tensor {
    let dtype = try x.dtype
    var weight = try layer.weight.to(dtype)
    // Attention's 1-wide convolutions are kept as (out, in, 1).
    if weight.shape.count == 3 { weight = try weight.reshape(weight.shape + [1]) }
    let bias = try layer.bias.to(dtype)
    let suitsWinograd = try WinogradConvolutionWeight.suitsTraining(
      weight.shape, dtype: dtype, stride: layer.stride, padding: layer.padding, device: x.device)
    return suitsWinograd
      ? try x.trainedConv2d(weight, bias) : try x.conv2d(weight, bias, stride: layer.stride, padding: layer.padding)
  }

  func normalise(
    _ x: Tensor, _ layer: Affine<Tensor>, scaleShift: (scale: Tensor, shift: Tensor)?, activate: Bool, overwriting: Bool
  ) throws(TorchError) -> Tensor {
    if try x.device.isCPU {
      return try x.trainedGroupNorm(
        groups: UNetConfiguration.groups, weight: layer.weight, bias: layer.bias, scale: scaleShift?.scale, shift: scaleShift?.shift,
        silu: activate)
    }
    var h = try x.to(.f32).groupNorm(groups: UNetConfiguration.groups, weight: layer.weight, bias: layer.bias)
    if let scaleShift {
      let shape = scaleShift.scale.shape + [1, 1]
      h = try h.mul(scaleShift.scale.add(1).reshape(shape)).add(scaleShift.shift.reshape(shape))
    }
    return try (activate ? h.silu() : h).to(x.dtype)
  }

  func join(_ x: Tensor, _ skip: Tensor) throws(TorchError) -> Tensor { try Tensor.cat([x, skip], dim: 1) }

  func resample(_ x: Tensor, _ resample: Resample) throws(TorchError) -> Tensor {
    switch resample {
    case .up: try x.upsampleNearest2x()
    case .down: try x.avgPool2x2()
    }
  }

  func attend(_ qkv: Tensor, heads: Int, newOrder: Bool) throws(TorchError) -> Tensor {
    try libraryAttention(qkv, heads: heads, newOrder: newOrder)
  }

  func dropout(_ x: Tensor) throws(TorchError) -> Tensor {
    dropout == 0 ? x : try x.dropout(dropout, training: true)
  }
}
