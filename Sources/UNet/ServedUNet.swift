package import Tensors

/// The U-Net for sampling: no gradients, weights converted once, f32 or bf16 activations in channels-last memory.
///
/// A sample's output bytes depend on that sample's inputs alone: not on the batch's size, the slot in it or the thread count. Our own kernels, which
/// on the CPU do all that matters, round alike in any batch and on any number of threads, so there several samples go through the network
/// together. LibTorch's products round differently for other batch sizes: where they have a part, every sample goes through by itself, in
/// operations of one fixed shape; and on the CPU each of LibTorch's runs on one thread, for they round differently when several threads divide
/// the sums. A batch's samples are what threads share out: none waits for another within a step. Where samples are fewer than threads, those left
/// over help out in our own kernels.
package final class ServedUNet {
  package let configuration: UNetConfiguration
  package let dtype: DType
  package let device: Device
  /// Processor threads; on a GPU one.
  package let threads: Int
  private let network: Network<ServedParameter>
  private let compute: ServedCompute
  private let sinusoids: Sinusoids
  /// Whether samples may go through together.
  private let isOurs: Bool
  /// Of the samples that go through together, at most: more would gain little and take memory and caches.
  private static let pixelsTogether = 1 << 14

  /// A network with the weights of a file, whose names, shapes and number must be exactly the configuration's.
  ///
  /// - Parameter dtype: What it computes in: f32, or bf16, which is faster only where the processor multiplies it natively.
  package convenience init(
    _ configuration: UNetConfiguration, weights: Safetensors, dtype: DType, device: Device = .cpu, threads: Int = 1
  ) throws {
    try configuration.validate()
    let checked = try CheckedWeights(weights, for: configuration)
    try self.init(configuration, dtype: dtype, device: device, threads: threads) { try checked.tensor($0) }
  }

  /// A copy of tensors held in memory, such as a training run's averaged weights, in `UNet.parameters`' order.
  package convenience init(
    _ configuration: UNetConfiguration, parameters: [(name: String, tensor: Tensor)], dtype: DType, device: Device = .cpu, threads: Int = 1
  ) throws {
    try configuration.validate()
    let expected = NetworkLayout.network(configuration).parameters
    guard expected.map(\.name) == parameters.map(\.name), expected.map(\.shape) == parameters.map(\.tensor.shape) else {
      throw UNetError(.weights, "the parameters aren't the configuration's \(expected.count), in order: give those of a UNet of its flags")
    }
    var next = 0
    try self.init(configuration, dtype: dtype, device: device, threads: threads) { _ in
      defer { next += 1 }
      return try parameters[next].tensor.detach()
    }
  }

  private init(
    _ configuration: UNetConfiguration, dtype: DType, device: Device, threads: Int, parameter make: (Parameter) throws -> Tensor
  ) throws {
    guard dtype == .f32 || dtype == .bf16 else {
      throw UNetError(.configuration, "a network can't be served in \(dtype): use f32 or bf16")
    }
    self.configuration = configuration
    self.dtype = dtype
    self.device = device
    self.threads = device.isCPU ? max(1, threads) : 1
    sinusoids = try Sinusoids(width: configuration.modelChannels, device: device)

    let layout = NetworkLayout.network(configuration)
    var joined: [Tensor] = []
    network = try Self.serving(on: device) {
      try layout.map { parameter throws -> ServedParameter in
        let tensor = try make(parameter).to(device)
        // The last convolution turns f32 activations into the f32 output.
        let isLast = parameter.name == layout.outConvolution.weight.name || parameter.name == layout.outConvolution.bias.name
        switch parameter.role {
        case .embedding where parameter.shape.count == 2: return try .linear(tensor.to(.f32).contiguous(), on: device)
        case .norm, .embedding, .table: return .tensor(try tensor.to(.f32).contiguous())
        case .convolutionBias: return .tensor(try tensor.to(isLast ? .f32 : dtype))
        case .modulation:
          joined.append(try tensor.to(.f32))
          return .joined
        case .convolutionWeight(let stride, let padding, let side):
          let shape = parameter.shape.count == 3 ? parameter.shape + [1] : parameter.shape
          let weight = try tensor.to(isLast ? .f32 : dtype).reshape(shape)
          return try .convolution(weight, stride: stride, padding: padding, side: side, on: device)
        }
      }
    }
    var spans: [Range<Int>] = []
    for block in layout.residualBlocks {
      let start = spans.last?.upperBound ?? 0
      spans.append(start..<start + block.modulation.bias.count)
    }
    let projection = try Self.serving(on: device) {
      try Affine(
        weight: ServedParameter.linear(Tensor.cat(stride(from: 0, to: joined.count, by: 2).map { joined[$0] }, dim: 0), on: device),
        bias: ServedParameter.tensor(Tensor.cat(stride(from: 1, to: joined.count, by: 2).map { joined[$0] }, dim: 0)))
    }
    isOurs = network.isOurs && projection.weight.isOurs
    compute = ServedCompute(projection: projection, spans: spans)
  }

  /// The network's output, (N, out_channels, H, W) f32; inputs as in `UNet.callAsFunction`.
  package func callAsFunction(
    x: Tensor, timesteps: Tensor, labels: Tensor? = nil, lowRes: Tensor? = nil, augLevels: Tensor? = nil
  ) throws -> Tensor {
    try Self.serving(on: device) {
      let inputs = try Inputs(
        configuration, x: x, timesteps: timesteps, labels: labels, lowRes: lowRes, augLevels: augLevels, device: device)
      let shape = inputs.x.shape
      let together = isOurs ? max(1, Self.pixelsTogether / (shape[2] * shape[3])) : 1
      let shares = Share.all(shape[0], threads: threads, together: together)
      let outputs = try concurrently(shares, threads: threads) { share in
        try Self.serving(on: device, threads: share.threads) {
          try compute.run(network, inputs.samples(share.samples), sinusoids: sinusoids, dtype: dtype)
        }
      }
      return try Tensor.cat(outputs, dim: 0)
    }
  }

  /// The products that one sample's pass consists of, to be repeated alone by `run`: what the rest of the pass is measured against.
  ///
  /// - Parameter count: of passes in a batch.
  package func products(side: Int, count: Int) throws -> [MatrixProduct] {
    let recording = RecordingCompute(compute)
    let configuration = configuration
    try inLibrary(count) {
      let inputs = try Inputs(
        configuration, x: .randn(shape: [1, configuration.inChannels, side, side], seed: 0), timesteps: Tensor([Float(500)], shape: [1]),
        labels: configuration.numClasses == nil ? nil : Tensor([Int64(0)], shape: [1]),
        lowRes: configuration.superResolution ? .randn(shape: [1, configuration.inChannels, side, side], seed: 1) : nil,
        augLevels: configuration.augLevels ? Tensor([Float(100)], shape: [1]) : nil, device: device)
      _ = try recording.run(network, inputs, sinusoids: sinusoids, dtype: dtype)
    }
    return recording.log.products
  }

  /// `count` passes' worth of products, as many at a time as the network computes samples.
  package func run(_ products: [MatrixProduct], count: Int) throws {
    _ = try concurrently(Share.all(count, threads: threads, together: 1), threads: threads) { _ in
      try inLibrary(count) { for product in products { try product.run() } }
    }
  }

  /// As the library would compute one of `count` passes: on a thread of its own, but where they are fewer than threads, on all of the process's.
  private func inLibrary<Result>(_ count: Int, _ body: () throws -> Result) throws -> Result {
    try count < threads ? Torch.inferenceMode(body) : Self.serving(on: device, body)
  }

  /// The modes of the calling thread in which everything is made and computed: oneDNN packs a weight for the number of threads it finds.
  private static func serving<Result>(on device: Device, threads: Int = 1, _ body: () throws -> Result) throws -> Result {
    try Torch.inferenceMode { device.isCPU ? try Torch.onOneThread(kernelThreads: threads, body) : try body() }
  }
}
