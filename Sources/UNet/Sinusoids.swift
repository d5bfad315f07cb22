import Tensors

/// guided-diffusion's embedding of numbers (t, s): cos(number * f_k), then sin(number * f_k), f_k = exp(-ln(10000) k / half) for k = 0..<half,
/// half = width / 2, in f32; a zero last if the width is odd.
struct Sinusoids {
  private let frequencies: Tensor
  private let isOdd: Bool

  init(width: Int, device: Device) throws(TorchError) {
    let half = width / 2
    let k = try Tensor((0..<half).map(Float.init), shape: [1, half])
    // LibTorch's own exp: at t = 1000 a last-bit difference here would show in the fifth digit of the angle.
    frequencies = try k.mul(-9.210340371976184).div(Double(max(half, 1))).exp().to(device)
    isOdd = width % 2 == 1
  }

  /// numbers (N) f32 -> (N, width) f32.
  func callAsFunction(_ numbers: Tensor) throws(TorchError) -> Tensor {
    let column = try numbers.reshape([-1, 1])
    let angles = try column.mul(frequencies)
    var parts = [try angles.cos(), try angles.sin()]
    if isOdd { parts.append(try column.mul(0)) }
    return try Tensor.cat(parts, dim: 1)
  }
}
