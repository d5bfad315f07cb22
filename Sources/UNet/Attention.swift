import Tensors

extension Compute {
  /// `attend` from LibTorch's operations.
  func libraryAttention(_ qkv: Tensor, heads: Int, newOrder: Bool) throws(TorchError) -> Tensor {
    let shape = qkv.shape
    let (samples, channels, pixels) = (shape[0], shape[1] / 3, shape[2] * shape[3])
    let width = channels / heads
    // (N, 3C, H, W) -> {q,k,v} of (N * heads, pixels, width); a view of channels-last memory up to the last step.
    let split =
      newOrder
      ? try qkv.permute([0, 2, 3, 1]).reshape([samples, pixels, 3, heads, width]).permute([2, 0, 3, 1, 4])
      : try qkv.permute([0, 2, 3, 1]).reshape([samples, pixels, heads, 3, width]).permute([3, 0, 2, 1, 4])
    func part(_ index: Int) throws(TorchError) -> Tensor {
      try split.narrow(dim: 0, start: index, length: 1).reshape([samples * heads, pixels, width])
    }
    // Both factors get d^(-1/4), so that their product stays small enough for half precision.
    let scale = 1 / Double(width).squareRoot().squareRoot()
    let scores = try part(0).mul(scale).bmm(part(1).mul(scale).transpose(1, 2))
    let attended = try scores.to(.f32).softmax(dim: -1).to(qkv.dtype).bmm(part(2))
    return try attended.reshape([samples, heads, pixels, width]).permute([0, 2, 1, 3])
      .reshape([samples, shape[2], shape[3], channels]).permute([0, 3, 1, 2])
  }
}
