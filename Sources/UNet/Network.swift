// The network's structure, once for all of its uses. `P` is what stands in a parameter's place: its description (`Parameter`, the layout),
// a trainable tensor, or a tensor converted for serving.

struct Convolution<P> {
  var weight: P
  var bias: P
  var stride = 1
  var padding = 1
}

/// Weight and bias of a GroupNorm or a linear layer.
struct Affine<P> {
  var weight: P
  var bias: P
}

enum Resample: Hashable, Sendable {
  /// Repeats every pixel 2x2.
  case up
  /// Averages every 2x2 pixels.
  case down
}

struct ResidualBlock<P> {
  /// Place among the network's residual blocks, in order of execution.
  var index: Int
  var resample: Resample?
  var scaleShift: Bool
  var inNorm: Affine<P>
  var inConvolution: Convolution<P>
  /// From the embedding of t, label and s to scale and shift (or what's added).
  var modulation: Affine<P>
  var outNorm: Affine<P>
  var outConvolution: Convolution<P>
  /// Nil: the identity.
  var skip: Convolution<P>?
}

struct AttentionBlock<P> {
  var heads: Int
  /// qkv's channels are {q,k,v}, then heads; false: heads, then {q,k,v}.
  var newOrder: Bool
  var norm: Affine<P>
  var qkv: Convolution<P>
  var projection: Convolution<P>
}

enum Layer<P> {
  case convolution(Convolution<P>)
  case residual(ResidualBlock<P>)
  case attention(AttentionBlock<P>)
  case resample(Resample)
}

/// The whole U-Net (ADM, appendix A; the block order of guided-diffusion).
struct Network<P> {
  /// Two linear layers with a SiLU between them.
  var timeEmbed: [Affine<P>]
  /// A row for each label.
  var labelTable: P?
  /// As `timeEmbed`, for s.
  var augEmbed: [Affine<P>]?
  /// Each one's output is kept for the output block at the mirrored place.
  var inputBlocks: [[Layer<P>]]
  var middleBlock: [Layer<P>]
  var outputBlocks: [[Layer<P>]]
  var outNorm: Affine<P>
  var outConvolution: Convolution<P>
}

// MARK: Mapping, always in guided-diffusion's state-dict order

extension Convolution {
  func map<Q, E: Error>(_ transform: (P) throws(E) -> Q) throws(E) -> Convolution<Q> {
    Convolution<Q>(weight: try transform(weight), bias: try transform(bias), stride: stride, padding: padding)
  }
}

extension Affine {
  func map<Q, E: Error>(_ transform: (P) throws(E) -> Q) throws(E) -> Affine<Q> {
    Affine<Q>(weight: try transform(weight), bias: try transform(bias))
  }
}

extension Layer {
  func map<Q, E: Error>(_ transform: (P) throws(E) -> Q) throws(E) -> Layer<Q> {
    switch self {
    case .convolution(let convolution): return .convolution(try convolution.map(transform))
    case .resample(let resample): return .resample(resample)
    case .attention(let block):
      return .attention(
        AttentionBlock<Q>(
          heads: block.heads, newOrder: block.newOrder, norm: try block.norm.map(transform), qkv: try block.qkv.map(transform),
          projection: try block.projection.map(transform)))
    case .residual(let block):
      return .residual(
        ResidualBlock<Q>(
          index: block.index, resample: block.resample, scaleShift: block.scaleShift, inNorm: try block.inNorm.map(transform),
          inConvolution: try block.inConvolution.map(transform), modulation: try block.modulation.map(transform),
          outNorm: try block.outNorm.map(transform), outConvolution: try block.outConvolution.map(transform),
          skip: try block.skip?.map(transform)))
    }
  }
}

extension Network {
  func map<Q, E: Error>(_ transform: (P) throws(E) -> Q) throws(E) -> Network<Q> {
    func affines(_ layers: [Affine<P>]) throws(E) -> [Affine<Q>] {
      var mapped: [Affine<Q>] = []
      for layer in layers { mapped.append(try layer.map(transform)) }
      return mapped
    }
    func layers(_ block: [Layer<P>]) throws(E) -> [Layer<Q>] {
      var mapped: [Layer<Q>] = []
      for layer in block { mapped.append(try layer.map(transform)) }
      return mapped
    }
    func blocks(_ blocks: [[Layer<P>]]) throws(E) -> [[Layer<Q>]] {
      var mapped: [[Layer<Q>]] = []
      for block in blocks { mapped.append(try layers(block)) }
      return mapped
    }
    let timeEmbed = try affines(timeEmbed)
    let labelTable: Q? = if let labelTable { try transform(labelTable) } else { nil }
    let augEmbed: [Affine<Q>]? = if let augEmbed { try affines(augEmbed) } else { nil }
    return Network<Q>(
      timeEmbed: timeEmbed, labelTable: labelTable, augEmbed: augEmbed, inputBlocks: try blocks(inputBlocks),
      middleBlock: try layers(middleBlock), outputBlocks: try blocks(outputBlocks), outNorm: try outNorm.map(transform),
      outConvolution: try outConvolution.map(transform))
  }

  /// Every parameter, in order.
  var parameters: [P] {
    var all: [P] = []
    _ = map { all.append($0) }
    return all
  }

  /// The residual blocks, in order of execution.
  var residualBlocks: [ResidualBlock<P>] {
    (inputBlocks + [middleBlock] + outputBlocks).joined().compactMap { if case .residual(let block) = $0 { block } else { nil } }
  }
}
