package import Tensors

/// guided-diffusion's U-Net (Dhariwal & Nichol 2021, arXiv 2105.05233) with f32 parameters that can be trained.
///
/// It is differentiable and makes no promise about bytes; `ServedUNet` is the one that samples are drawn with.
package final class UNet {
  package let configuration: UNetConfiguration
  package let device: Device
  /// Every parameter, under guided-diffusion's name and in its order; f32 leaves that want gradients.
  package let parameters: [(name: String, tensor: Tensor)]
  private let network: Network<Tensor>
  private let sinusoids: Sinusoids

  /// A new network with PyTorch's default starting values, the same for the same seed, and guided-diffusion's three zeroed kinds of layer.
  package convenience init(_ configuration: UNetConfiguration, seed: UInt64, device: Device = .cpu) throws {
    try configuration.validate()
    var generator = StartingValues(seed: seed)
    try self.init(configuration, device: device) { parameter in
      try Tensor(generator.next(parameter), shape: parameter.shape)
    }
  }

  /// A network with the weights of a file, whose names, shapes and number must be exactly the configuration's.
  package convenience init(_ configuration: UNetConfiguration, weights: Safetensors, device: Device = .cpu) throws {
    try configuration.validate()
    let checked = try CheckedWeights(weights, for: configuration)
    try self.init(configuration, device: device) { try checked.tensor($0) }
  }

  private init(_ configuration: UNetConfiguration, device: Device, parameter make: (Parameter) throws -> Tensor) throws {
    self.configuration = configuration
    self.device = device
    var parameters: [(name: String, tensor: Tensor)] = []
    network = try NetworkLayout.network(configuration).map { parameter in
      let tensor = try make(parameter).to(.f32).to(device).requiresGrad(true)
      parameters.append((name: parameter.name, tensor: tensor))
      return tensor
    }
    self.parameters = parameters
    sinusoids = try Sinusoids(width: configuration.modelChannels, device: device)
  }

  package var parameterCount: Int { parameters.reduce(0) { $0 + $1.tensor.count } }

  /// The network's output, (N, out_channels, H, W) f32.
  ///
  /// - Parameters:
  ///   - x: (N, in_channels, H, W) f32; H and W any multiple of what the levels halve.
  ///   - timesteps: (N), f32 or i64; fractions are allowed.
  ///   - labels: (N) i64, exactly when the network knows labels; see `ClassLabels` for the null class.
  ///   - lowRes: (N, in_channels, h, w) f32, exactly for a super-resolution network.
  ///   - augLevels: s, (N), exactly when the network is told it.
  ///   - training: Whether dropout drops.
  ///   - dtype: What convolutions and attention compute in: f32 or bf16. GroupNorm, the embedding and the last convolution stay f32.
  package func callAsFunction(
    x: Tensor, timesteps: Tensor, labels: Tensor? = nil, lowRes: Tensor? = nil, augLevels: Tensor? = nil, training: Bool,
    dtype: DType = .f32
  ) throws -> Tensor {
    let inputs = try Inputs(
      configuration, x: x, timesteps: timesteps, labels: labels, lowRes: lowRes, augLevels: augLevels, device: device)
    return try TrainingCompute(dropout: training ? configuration.dropout : 0)
      .run(network, inputs, sinusoids: sinusoids, dtype: dtype)
  }
}

extension UNetConfiguration {
  /// Names and shapes of the network's tensors, in guided-diffusion's order; nothing is allocated for them.
  package func tensorShapes() throws(UNetError) -> [(name: String, shape: [Int])] {
    try validate()
    return NetworkLayout.network(self).parameters.map { (name: $0.name, shape: $0.shape) }
  }
}
