import Tensors

/// A parameter as serving keeps it.
enum ServedParameter {
  case tensor(Tensor)
  /// A filter in oneDNN's own order.
  case packed(PackedConvolutionWeight)
  case winograd(WinogradConvolutionWeight)
  case pointwise(PointwiseConvolutionWeight)
  /// Part of the one matrix that projects the embedding for every residual block.
  case joined

  /// Outputs first; `nil` where it is part of another.
  var shape: [Int]? {
    switch self {
    case .tensor(let tensor): tensor.shape
    case .packed(let weight): weight.shape
    case .winograd(let weight): weight.shape
    case .pointwise(let weight): weight.shape
    case .joined: nil
    }
  }
}

extension ServedParameter {
  /// A filter, (out, in, kh, kw), as the fastest convolution takes it that there is for its type, shape and device.
  ///
  /// - Parameter side: height and width of the images it will meet.
  static func convolution(
    _ weight: Tensor, stride: Int, padding: Int, side: Int, on device: Device
  ) throws(TorchError) -> ServedParameter {
    let dtype = try weight.dtype
    let shape = weight.shape
    if WinogradConvolutionWeight.suits(shape, dtype: dtype, stride: stride, padding: padding, device: device) {
      return .winograd(try WinogradConvolutionWeight(weight))
    }
    if PointwiseConvolutionWeight.suits(shape, dtype: dtype, stride: stride, padding: padding, device: device) {
      return .pointwise(try PointwiseConvolutionWeight(weight))
    }
    guard device.isCPU, PackedConvolutionWeight.isSupported(dtype) else { return .tensor(try weight.channelsLast()) }
    return .packed(try PackedConvolutionWeight(weight, stride: stride, padding: padding, input: [1, shape[1], side, side]))
  }

  /// A linear layer's weight, (out, in) in f32.
  static func linear(_ weight: Tensor, on device: Device) throws(TorchError) -> ServedParameter {
    let filter = weight.shape + [1, 1]
    guard PointwiseConvolutionWeight.suits(filter, dtype: .f32, stride: 1, padding: 0, device: device) else { return .tensor(weight) }
    return .pointwise(try PointwiseConvolutionWeight(weight.reshape(filter)))
  }

  /// As a linear layer's weight: x (N, in) -> (N, out).
  func linear(_ x: Tensor, _ bias: Tensor) throws(TorchError) -> Tensor {
    switch self {
    case .tensor(let weight): return try x.linear(weight, bias)
    case .pointwise(let weight):
      let y = try x.reshape(x.shape + [1, 1]).conv2dPointwise(weight: weight, bias: bias)
      return try y.reshape(Array(y.shape[..<2]))
    case .packed, .winograd, .joined:
      throw TorchError(operation: "served network", message: "a filter or joined parameter was used as a linear layer's weight")
    }
  }

  /// Whether its products come from our own kernels, in which no sample's bytes depend on the others of a batch.
  var isOurs: Bool {
    switch self {
    case .winograd, .pointwise: true
    case .tensor, .packed, .joined: false
    }
  }

  /// As a filter: its convolution of x, with a bias and a residual added.
  func convolve(_ x: Tensor, _ bias: Tensor, stride: Int, padding: Int, adding residual: Tensor?) throws(TorchError) -> Tensor {
    switch self {
    case .packed(let weight): return try x.conv2dPacked(weight: weight, bias: bias, residual: residual)
    case .winograd(let weight): return try x.conv2dWinograd(weight: weight, bias: bias, residual: residual)
    case .pointwise(let weight): return try x.conv2dPointwise(weight: weight, bias: bias, residual: residual)
    case .tensor(let weight):
      let y = try x.conv2d(weight, bias, stride: stride, padding: padding)
      guard let residual else { return y }
      return try y.add(residual)
    case .joined: throw TorchError(operation: "served network", message: "a joined parameter was used as a filter")
    }
  }
}

/// Without gradients: packed convolutions with the residual added inside, fused GroupNorm, all of a step's embedding projections in one product.
struct ServedCompute: Compute {
  /// Every residual block's `emb_layers.1`, one below the other: (sum of outputs, 4 * model_channels) and (sum of outputs), f32.
  let projection: Affine<ServedParameter>
  /// Where each residual block's outputs are in the projection, by the block's index.
  let spans: [Range<Int>]

  func linear(_ x: Tensor, _ layer: Affine<ServedParameter>) throws(TorchError) -> Tensor {
    try layer.weight.linear(x, plain(layer.bias))
  }

  func rows(_ table: ServedParameter, _ indices: Tensor) throws(TorchError) -> Tensor {
    try Tensor.embedding(weight: plain(table), indices: indices)
  }

  func prepare(_ embedding: Tensor) throws(TorchError) -> Tensor {
    try linear(embedding.silu(), projection)
  }

  func modulation(_ block: ResidualBlock<ServedParameter>, _ embedding: Tensor) throws(TorchError) -> Tensor {
    let span = spans[block.index]
    return try embedding.narrow(dim: 1, start: span.lowerBound, length: span.count)
  }

  func convolve(_ x: Tensor, _ layer: Convolution<ServedParameter>, adding residual: Tensor?) throws(TorchError) -> Tensor {
    try layer.weight.convolve(x, plain(layer.bias), stride: layer.stride, padding: layer.padding, adding: residual)
  }

  func normalise(
    _ x: Tensor, _ layer: Affine<ServedParameter>, scaleShift: (scale: Tensor, shift: Tensor)?, activate: Bool, overwriting: Bool
  ) throws(TorchError) -> Tensor {
    try x.fusedGroupNorm(
      groups: UNetConfiguration.groups, weight: plain(layer.weight), bias: plain(layer.bias), scale: scaleShift?.scale,
      shift: scaleShift?.shift, silu: activate, overwriting: overwriting)
  }

  func join(_ x: Tensor, _ skip: Tensor) throws(TorchError) -> Tensor {
    let (first, second) = (try x.suitsResampling(), try skip.suitsResampling())
    return try first && second ? x.joinedChannels(skip) : Tensor.cat([x, skip], dim: 1)
  }

  func resample(_ x: Tensor, _ resample: Resample) throws(TorchError) -> Tensor {
    let ours = try x.suitsResampling()
    switch resample {
    case .up: return try ours ? x.enlarged2x() : x.upsampleNearest2x()
    case .down: return try ours ? x.shrunk2x() : x.avgPool2x2()
    }
  }

  func attend(_ qkv: Tensor, heads: Int, newOrder: Bool) throws(TorchError) -> Tensor {
    return try qkv.device.isCPU && (qkv.shape[1] / (3 * heads)).isMultiple(of: Tensor.kernelLanes)
      ? qkv.attention(heads: heads, newOrder: newOrder) : libraryAttention(qkv, heads: heads, newOrder: newOrder)
  }

  func dropout(_ x: Tensor) throws(TorchError) -> Tensor { x }

  private func plain(_ parameter: ServedParameter) throws(TorchError) -> Tensor {
    guard case .tensor(let tensor) = parameter else {
      throw TorchError(operation: "served network", message: "a packed or joined parameter was asked for as a plain tensor")
    }
    return tensor
  }
}

extension Network<ServedParameter> {
  /// Whether our own kernels do all in which LibTorch's operations round differently for other batch sizes.
  var isOurs: Bool {
    let blocks = (inputBlocks + [middleBlock] + outputBlocks).joined()
    return (timeEmbed + (augEmbed ?? [])).allSatisfy(\.weight.isOurs) && outConvolution.weight.isOurs
      && blocks.allSatisfy { layer in
        switch layer {
        case .convolution(let convolution): convolution.weight.isOurs
        case .residual(let block):
          block.inConvolution.weight.isOurs && block.outConvolution.weight.isOurs && block.skip?.weight.isOurs ?? true
        case .attention(let block):
          block.qkv.weight.isOurs && block.projection.weight.isOurs
            && ((block.projection.weight.shape?[0] ?? 0) / block.heads).isMultiple(of: Tensor.kernelLanes)
        case .resample: true
        }
      }
  }
}
