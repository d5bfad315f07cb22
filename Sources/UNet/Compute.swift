import Tensors

/// How the network's operations are carried out: the one difference between training and serving.
protocol Compute {
  /// What stands in a parameter's place.
  associatedtype Parameter
  /// What the residual blocks are told of t, label and s.
  associatedtype Embedding

  /// x (N, in) f32 -> (N, out) f32.
  func linear(_ x: Tensor, _ layer: Affine<Parameter>) throws(TorchError) -> Tensor
  /// Rows of `table` at `indices` (N) i64.
  func rows(_ table: Parameter, _ indices: Tensor) throws(TorchError) -> Tensor
  /// embedding (N, 4 * model_channels) f32.
  func prepare(_ embedding: Tensor) throws(TorchError) -> Embedding
  /// The block's projection of the embedding: (N, channels) f32, twice as many with scale-shift.
  func modulation(_ block: ResidualBlock<Parameter>, _ embedding: Embedding) throws(TorchError) -> Tensor
  /// Convolution, then + residual. x (N, C, H, W) sets the type that is computed in.
  func convolve(_ x: Tensor, _ layer: Convolution<Parameter>, adding residual: Tensor?) throws(TorchError) -> Tensor
  /// GroupNorm, then *(1 + scale) + shift (each (N, C) f32), then SiLU. `overwriting`: nobody needs x any more.
  func normalise(
    _ x: Tensor, _ layer: Affine<Parameter>, scaleShift: (scale: Tensor, shift: Tensor)?, activate: Bool, overwriting: Bool
  ) throws(TorchError) -> Tensor
  /// Their channels side by side.
  func join(_ x: Tensor, _ skip: Tensor) throws(TorchError) -> Tensor
  func resample(_ x: Tensor, _ resample: Resample) throws(TorchError) -> Tensor
  /// softmax(q k' / √width) v of qkv (N, 3 * heads * width, H, W), whose channels are {q,k,v}, then heads (`newOrder`), or heads, then {q,k,v}.
  func attend(_ qkv: Tensor, heads: Int, newOrder: Bool) throws(TorchError) -> Tensor
  func dropout(_ x: Tensor) throws(TorchError) -> Tensor
}

/// What goes into the network, checked: x (N, C, H, W) f32, t (N) f32, labels (N) i64, lowRes upsampled to x's size, s (N) f32.
struct Inputs {
  var x: Tensor
  var timesteps: Tensor
  /// Rows of the table; any row for a sample of the null class.
  var labels: Tensor?
  /// (N, 1) f32, 0 for the null class and 1 for the others; `nil`: every sample has a label.
  var labelled: Tensor?
  var lowRes: Tensor?
  var augLevels: Tensor?
}

extension Compute {
  /// The whole network, its blocks in `dtype`, its embedding and last convolution in f32.
  func run(_ network: Network<Parameter>, _ inputs: Inputs, sinusoids: Sinusoids, dtype: DType) throws(TorchError) -> Tensor {
    let embedding = try prepare(embed(network, inputs, sinusoids))
    var h = inputs.x
    if let lowRes = inputs.lowRes { h = try Tensor.cat([h, lowRes], dim: 1) }
    h = try h.channelsLast().to(dtype)
    var skips: [Tensor] = []
    for block in network.inputBlocks {
      h = try run(block, h, embedding)
      skips.append(h)
    }
    h = try run(network.middleBlock, h, embedding)
    for block in network.outputBlocks {
      h = try run(block, join(h, skips.removeLast()), embedding, isLastUse: true)
    }
    h = try normalise(h.to(.f32), network.outNorm, scaleShift: nil, activate: true, overwriting: true)
    return try convolve(h, network.outConvolution, adding: nil).contiguous()
  }

  private func embed(_ network: Network<Parameter>, _ inputs: Inputs, _ sinusoids: Sinusoids) throws(TorchError) -> Tensor {
    func mlp(_ layers: [Affine<Parameter>], _ numbers: Tensor) throws(TorchError) -> Tensor {
      try linear(linear(sinusoids(numbers), layers[0]).silu(), layers[1])
    }
    var embedding = try mlp(network.timeEmbed, inputs.timesteps)
    if let table = network.labelTable, let labels = inputs.labels {
      let rows = try rows(table, labels)
      embedding = try embedding.add(inputs.labelled.map { labelled throws(TorchError) in try rows.mul(labelled) } ?? rows)
    }
    if let layers = network.augEmbed, let levels = inputs.augLevels { embedding = try embedding.add(mlp(layers, levels)) }
    return embedding
  }

  /// - Parameter isLastUse: nobody needs x afterwards.
  private func run(
    _ layers: [Layer<Parameter>], _ x: Tensor, _ embedding: Embedding, isLastUse: Bool = false
  ) throws(TorchError) -> Tensor {
    var h = x
    for (index, layer) in layers.enumerated() {
      switch layer {
      case .convolution(let convolution): h = try convolve(h, convolution, adding: nil)
      case .residual(let block): h = try run(block, h, embedding, isLastUse: isLastUse || index > 0)
      case .attention(let block): h = try run(block, h)
      case .resample(let resample): h = try self.resample(h, resample)
      }
    }
    return h
  }

  private func run(
    _ block: ResidualBlock<Parameter>, _ x: Tensor, _ embedding: Embedding, isLastUse: Bool
  ) throws(TorchError) -> Tensor {
    var shortcut = x
    if let resample = block.resample { shortcut = try self.resample(shortcut, resample) }
    if let skip = block.skip { shortcut = try convolve(shortcut, skip, adding: nil) }
    // Unless it is the shortcut itself.
    let overwriting = isLastUse && (block.resample != nil || block.skip != nil)
    var h = try normalise(x, block.inNorm, scaleShift: nil, activate: true, overwriting: overwriting)
    if let resample = block.resample { h = try self.resample(h, resample) }
    h = try convolve(h, block.inConvolution, adding: nil)
    let modulation = try modulation(block, embedding)
    if block.scaleShift {
      let parts = try modulation.chunk(2, dim: 1)
      h = try normalise(h, block.outNorm, scaleShift: (scale: parts[0], shift: parts[1]), activate: true, overwriting: true)
    } else {
      let shape = modulation.shape + [1, 1]
      h = try h.add(modulation.reshape(shape).to(h.dtype))
      h = try normalise(h, block.outNorm, scaleShift: nil, activate: true, overwriting: true)
    }
    return try convolve(dropout(h), block.outConvolution, adding: shortcut)
  }

  private func run(_ block: AttentionBlock<Parameter>, _ x: Tensor) throws(TorchError) -> Tensor {
    let qkv = try convolve(normalise(x, block.norm, scaleShift: nil, activate: false, overwriting: false), block.qkv, adding: nil)
    return try convolve(attend(qkv, heads: block.heads, newOrder: block.newOrder), block.projection, adding: x)
  }
}
