import CTorchBridge

/// What a convolution may end with.
package enum Activation: Sendable {
  case none, silu, relu

  var raw: wt_activation {
    switch self {
    case .none: WT_NO_ACTIVATION
    case .silu: WT_ACTIVATION_SILU
    case .relu: WT_ACTIVATION_RELU
    }
  }
}

/// A convolution weight in oneDNN's own memory order, for one stride and padding. CPU only.
package struct PackedConvolutionWeight: Sendable {
  /// (out, in, kh, kw).
  package let shape: [Int]
  let tensor: Tensor
  let stride: Int
  let padding: Int

  /// Whether oneDNN convolves this type on this processor. bf16 takes AVX-512 or AVX-NE-CONVERT.
  package static func isSupported(_ dtype: DType) -> Bool { dtype == .f32 || dtype == .bf16 && wt_packs_bf16() }

  /// `weight`: (out, in, kh, kw), f32 or bf16. `input`: the shape (N, in, H, W) it will mostly meet; the order that oneDNN likes best
  /// depends on it, and another shape's convolution may have to reorder the weight every time.
  package init(_ weight: Tensor, stride: Int, padding: Int, input: [Int]) throws(TorchError) {
    guard input.count == 4 else {
      throw TorchError(operation: "packConvolutionWeight", message: "the input's shape needs 4 sizes, not \(input)")
    }
    shape = weight.shape
    self.stride = stride
    self.padding = padding
    tensor = try Tensor.make("packConvolutionWeight", keeping: weight) {
      wt_pack_conv2d_weight(weight.handle, Int64(stride), Int64(padding), input.map(Int64.init), $0)
    }
  }
}

extension DType {
  /// Whether our own kernels for serving take it.
  fileprivate var isTakenByKernels: Bool { self == .f32 || self == .bf16 }
}

/// A 3x3 filter as Winograd's minimal filtering F(4x4, 3x3) takes it, at stride 1 with padding 1, on the CPU, in four times its memory. Made from bf16
/// it takes bf16, with products of bf16 where the processor forms these.
package struct WinogradConvolutionWeight: Sendable {
  /// (out, in, 3, 3).
  package let shape: [Int]
  /// What it was made from, and takes.
  let dtype: DType
  let tensor: Tensor

  /// `weight`: (out, in, 3, 3), f32 or bf16.
  package init(_ weight: Tensor) throws(TorchError) {
    shape = weight.shape
    dtype = try weight.dtype
    tensor = try Tensor.make("packWinogradWeight", keeping: weight) { wt_pack_winograd_weight(weight.handle, $0) }
  }

  /// Of larger filters what the method makes of them would no longer be read from a cache.
  private static let maxChannels = 1 << 17

  /// Whether the method's gradients take filters that it suits: only whole vectors of channels.
  package static func suitsTraining(_ shape: [Int], dtype: DType, stride: Int, padding: Int, device: Device) -> Bool {
    dtype == .f32 && suits(shape, dtype: dtype, stride: stride, padding: padding, device: device)
      && shape[..<2].allSatisfy { $0.isMultiple(of: Tensor.kernelLanes) }
  }

  /// Whether the method takes filters of this shape, (out, in, kh, kw), and is faster with them than plain sums.
  package static func suits(_ shape: [Int], dtype: DType, stride: Int, padding: Int, device: Device) -> Bool {
    device.isCPU && dtype.isTakenByKernels && stride == 1 && padding == 1 && shape[2...] == [3, 3]
      && shape[0] * shape[1] <= maxChannels
  }
}

/// A 1x1 filter as our own kernel takes it, on the CPU. Made from bf16 it takes bf16, with products of bf16 where the processor forms these.
package struct PointwiseConvolutionWeight: Sendable {
  /// (out, in, 1, 1).
  package let shape: [Int]
  /// What it was made from, and takes.
  let dtype: DType
  let tensor: Tensor

  package init(_ weight: Tensor) throws(TorchError) {
    shape = weight.shape
    dtype = try weight.dtype
    tensor = try Tensor.make("packPointwiseWeight", keeping: weight) { wt_pack_pointwise_weight(weight.handle, $0) }
  }

  /// Whether the kernel takes filters of this shape, (out, in, kh, kw).
  package static func suits(_ shape: [Int], dtype: DType, stride: Int, padding: Int, device: Device) -> Bool {
    device.isCPU && dtype.isTakenByKernels && stride == 1 && padding == 0 && shape[2...] == [1, 1]
      && shape[..<2].allSatisfy { $0.isMultiple(of: Tensor.kernelLanes) }
  }
}

/// Network layers. All are differentiable unless they say otherwise.
extension Tensor {
  /// x (..., in), weight (out, in), bias (out) -> (..., out).
  package func linear(_ weight: Tensor, _ bias: Tensor? = nil) throws(TorchError) -> Tensor {
    try Tensor.make("linear", keeping: self, weight, bias) { wt_linear(handle, weight.handle, bias?.handle, $0) }
  }

  /// x (N, in, H, W), weight (out, in / groups, kh, kw), bias (out).
  package func conv2d(
    _ weight: Tensor, _ bias: Tensor? = nil, stride: Int = 1, padding: Int = 0, groups: Int = 1
  ) throws(TorchError) -> Tensor {
    try Tensor.make("conv2d", keeping: self, weight, bias) {
      wt_conv2d(handle, weight.handle, bias?.handle, Int64(stride), Int64(padding), Int64(groups), $0)
    }
  }

  /// Zeros around the last two dimensions.
  package func padded(left: Int, right: Int, top: Int, bottom: Int) throws(TorchError) -> Tensor {
    try Tensor.make("padded", keeping: self) { wt_pad2d(handle, Int64(left), Int64(right), Int64(top), Int64(bottom), $0) }
  }

  /// activation(conv2d + bias + residual) in one oneDNN call. CPU, f32 or bf16 throughout; not differentiable.
  package func conv2dPacked(
    weight: PackedConvolutionWeight, bias: Tensor? = nil, residual: Tensor? = nil, activation: Activation = .none
  ) throws(TorchError) -> Tensor {
    try Tensor.make("conv2dPacked", keeping: self, weight.tensor, bias, residual) {
      wt_conv2d_packed(
        handle, weight.tensor.handle, bias?.handle, residual?.handle, Int64(weight.stride), Int64(weight.padding), activation.raw, $0)
    }
  }

  /// conv2d + bias + residual in about a third to half of the time that plain sums take, with about twice their rounding. f32 or bf16 on the CPU, as the
  /// weight was; the result is x's type and channels-last. A sample's bytes depend on that sample alone. Not differentiable.
  package func conv2dWinograd(
    weight: WinogradConvolutionWeight, bias: Tensor? = nil, residual: Tensor? = nil
  ) throws(TorchError) -> Tensor {
    try check(isOf: weight.dtype, for: "conv2dWinograd")
    return try Tensor.make("conv2dWinograd", keeping: self, weight.tensor, bias, residual) {
      wt_conv2d_winograd(handle, weight.tensor.handle, Int64(weight.shape[0]), bias?.handle, residual?.handle, $0)
    }
  }

  /// conv2d of a 1x1 filter + bias + residual. f32 or bf16 on the CPU, as the weight was; the result is x's type and channels-last. A
  /// sample's bytes depend on that sample alone. Not differentiable.
  package func conv2dPointwise(
    weight: PointwiseConvolutionWeight, bias: Tensor? = nil, residual: Tensor? = nil
  ) throws(TorchError) -> Tensor {
    try check(isOf: weight.dtype, for: "conv2dPointwise")
    return try Tensor.make("conv2dPointwise", keeping: self, weight.tensor, bias, residual) {
      wt_conv2d_pointwise(handle, weight.tensor.handle, bias?.handle, residual?.handle, $0)
    }
  }

  private func check(isOf expected: DType, for operation: String) throws(TorchError) {
    let own = try dtype
    guard own == expected else { throw TorchError(operation: operation, message: "the filter was made for \(expected), not \(own)") }
  }

  /// Of x (N, 3 * heads * width, H, W), the queries, keys and values of every pixel: softmax(q k' / √width) v, (N, heads * width, H, W). f32 or, rounded at
  /// the end, bf16 on the CPU, widths in multiples of `kernelLanes`; the result is channels-last. A sample's bytes depend on that sample alone. Not
  /// differentiable.
  ///
  /// - Parameter newOrder: x's channels are {q,k,v}, then heads; false: heads, then {q,k,v}.
  package func attention(heads: Int, newOrder: Bool) throws(TorchError) -> Tensor {
    try Tensor.make("attention", keeping: self) { wt_attention(handle, Int64(heads), newOrder, $0) }
  }

  /// Numbers that our own kernels take at a time: `lanes` in Vectors.hpp.
  package static let kernelLanes = 16

  /// conv2d + bias, stride and padding 1, as `conv2dWinograd` computes it, and its gradients likewise: for filters (out, in, 3, 3) that
  /// `WinogradConvolutionWeight.suitsTraining`.
  package func trainedConv2d(_ weight: Tensor, _ bias: Tensor) throws(TorchError) -> Tensor {
    try Tensor.make("trainedConv2d", keeping: self, weight, bias) { wt_conv2d_trained(handle, weight.handle, bias.handle, $0) }
  }

  /// GroupNorm (Wu & He 2018) over (N, C, ...): biased variance, then weight (C) and bias (C). LibTorch's; for training.
  package func groupNorm(
    groups: Int, weight: Tensor?, bias: Tensor?, eps: Double = 1e-5
  ) throws(TorchError) -> Tensor {
    try Tensor.make("groupNorm", keeping: self, weight, bias) {
      wt_group_norm(handle, Int64(groups), weight?.handle, bias?.handle, eps, $0)
    }
  }

  /// GroupNorm with weight (C) and bias (C), then y*(1+scale)+shift with scale and shift of (N or 1, C[, 1, 1]), then SiLU, each
  /// part only if asked for. For serving: x (N, C, ...) in f32 or bf16, contiguous or channels-last; the result has x's type and
  /// layout. On the CPU a sample's bytes depend on that sample alone: not on the batch, its slot or the thread count.
  /// Not differentiable.
  ///
  /// - Parameter overwriting: x is not needed any more, and the result may be put in its place.
  package func fusedGroupNorm(
    groups: Int, weight: Tensor?, bias: Tensor?, eps: Double = 1e-5, scale: Tensor? = nil, shift: Tensor? = nil, silu: Bool,
    overwriting: Bool = false
  ) throws(TorchError) -> Tensor {
    try Tensor.make("fusedGroupNorm", keeping: self, weight, bias, scale, shift) {
      wt_fused_group_norm(
        handle, Int64(groups), weight?.handle, bias?.handle, eps, scale?.handle, shift?.handle, silu, overwriting, $0)
    }
  }

  /// `fusedGroupNorm` with its gradients, in two passes over memory each. (N, C, H, W) in f32 or bf16 on the CPU, C a multiple of 16; scale and
  /// shift (N, C) are both there or neither. The result is channels-last.
  package func trainedGroupNorm(
    groups: Int, weight: Tensor, bias: Tensor, eps: Double = 1e-5, scale: Tensor? = nil, shift: Tensor? = nil, silu: Bool
  ) throws(TorchError) -> Tensor {
    try Tensor.make("trainedGroupNorm", keeping: self, weight, bias, scale, shift) {
      wt_trained_group_norm(handle, Int64(groups), weight.handle, bias.handle, eps, scale?.handle, shift?.handle, silu, $0)
    }
  }

  /// Rows of `weight` (entries, width) at `indices` (i64, any shape).
  package static func embedding(weight: Tensor, indices: Tensor) throws(TorchError) -> Tensor {
    try make("embedding", keeping: weight, indices) { wt_embedding(weight.handle, indices.handle, $0) }
  }

  /// (N, C, H, W) -> (N, C, 2H, 2W), each pixel four times.
  package func upsampleNearest2x() throws(TorchError) -> Tensor {
    try Tensor.make("upsampleNearest2x", keeping: self) { wt_upsample_nearest2x(handle, $0) }
  }

  /// (N, C, H, W) -> (N, C, H/2, W/2), the mean of 2x2 pixels.
  package func avgPool2x2() throws(TorchError) -> Tensor {
    try Tensor.make("avgPool2x2", keeping: self) { wt_avg_pool2x2(handle, $0) }
  }

  /// `cat` of two images' channels, `upsampleNearest2x` and `avgPool2x2` on as many threads as our kernels have, where `suitsResampling`: the result
  /// is channels-last. Not differentiable.
  package func joinedChannels(_ other: Tensor) throws(TorchError) -> Tensor {
    try Tensor.make("joinedChannels", keeping: self, other) { wt_join_channels(handle, other.handle, $0) }
  }

  package func enlarged2x() throws(TorchError) -> Tensor {
    try Tensor.make("enlarged2x", keeping: self) { wt_enlarge2x(handle, $0) }
  }

  package func shrunk2x() throws(TorchError) -> Tensor {
    try Tensor.make("shrunk2x", keeping: self) { wt_shrink2x(handle, $0) }
  }

  /// f32 or bf16 on the CPU, channels in multiples of `kernelLanes`.
  package func suitsResampling() throws(TorchError) -> Bool {
    let dtype = try dtype
    return try device.isCPU && dtype.isTakenByKernels && shape.count == 4 && shape[1].isMultiple(of: Self.kernelLanes)
  }

  /// Bilinear with half-pixel centres (align_corners false), no antialiasing.
  package func upsampleBilinear(height: Int, width: Int) throws(TorchError) -> Tensor {
    try Tensor.make("upsampleBilinear", keeping: self) { wt_upsample_bilinear(handle, Int64(height), Int64(width), $0) }
  }

  /// Bicubic, with antialiasing where it gets smaller: Pillow's `resize`, but for its rounding to bytes.
  package func resizedBicubic(height: Int, width: Int) throws(TorchError) -> Tensor {
    try Tensor.make("resizedBicubic", keeping: self) { wt_resize_bicubic(handle, Int64(height), Int64(width), $0) }
  }
}
