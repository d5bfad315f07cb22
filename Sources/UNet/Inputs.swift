import Tensors

extension Inputs {
  /// Checks what the network is given against its configuration and upsamples the low-resolution image.
  init(
    _ configuration: UNetConfiguration, x: Tensor, timesteps: Tensor, labels: Tensor?, lowRes: Tensor?, augLevels: Tensor?, device: Device
  ) throws {
    let shape = x.shape
    let multiple = 1 << (configuration.channelMult.count - 1)
    guard
      shape.count == 4, shape[0] >= 1, shape[1] == configuration.inChannels,
      shape[2] >= multiple, shape[3] >= multiple, shape[2] % multiple == 0, shape[3] % multiple == 0
    else {
      throw UNetError(
        .input, "x has shape \(shape): give (N, \(configuration.inChannels), H, W) with N at least 1, H and W multiples of \(multiple)")
    }
    func present(_ tensor: Tensor?, _ name: String, _ wanted: Bool, _ flag: String) throws(UNetError) -> Tensor? {
      guard (tensor != nil) == wanted else {
        throw UNetError(
          .input, wanted ? "\(name) is missing: \(flag) makes the network need it" : "\(name) was given, but without \(flag) it isn't used")
      }
      return tensor
    }
    func vector(_ tensor: Tensor, _ name: String) throws(UNetError) -> Tensor {
      guard tensor.shape == [shape[0]] else {
        throw UNetError(.input, "\(name) has shape \(tensor.shape): give (\(shape[0])), one number for each sample of x")
      }
      return tensor
    }
    func floats(_ tensor: Tensor, _ name: String) throws -> Tensor {
      let dtype = try tensor.dtype
      guard dtype != .bool && dtype != .u8 else { throw UNetError(.input, "\(name) is \(dtype): give f32") }
      return try tensor.to(device).to(.f32)
    }
    self.x = try floats(x, "x")
    self.timesteps = try floats(vector(timesteps, "t"), "t")
    if let classes = configuration.numClasses, let labels = try present(labels, "y (labels)", true, "num_classes") {
      guard try labels.dtype == .i64 else { throw UNetError(.input, "y (labels) is \(try labels.dtype): give i64") }
      let numbers = try vector(labels, "y (labels)").integers()
      if let bad = numbers.first(where: { $0 != ClassLabels.null && !(0..<Int64(classes)).contains($0) }) {
        throw UNetError(.input, "y (labels) has \(bad): give 0 to \(classes - 1), or \(ClassLabels.null) for the null class")
      }
      if numbers.contains(ClassLabels.null) {
        self.labels = try Tensor(numbers.map { max($0, 0) }, shape: [shape[0]], device: device)
        labelled = try Tensor(numbers.map { Float($0 == ClassLabels.null ? 0 : 1) }, shape: [shape[0], 1], device: device)
      } else {
        self.labels = try labels.to(device)
      }
    } else {
      _ = try present(labels, "y (labels)", false, "num_classes")
    }
    if let lowRes = try present(lowRes, "low_res", configuration.superResolution, "super_resolution") {
      let small = lowRes.shape
      guard small.count == 4, small[0] == shape[0], small[1] == shape[1], small[2] >= 1, small[3] >= 1 else {
        throw UNetError(.input, "low_res has shape \(small): give (\(shape[0]), \(shape[1]), h, w)")
      }
      self.lowRes = try floats(lowRes, "low_res").upsampleBilinear(height: shape[2], width: shape[3])
    }
    if let levels = try present(augLevels, "s (augmentation levels)", configuration.augLevels, "aug_levels") {
      self.augLevels = try floats(vector(levels, "s"), "s")
    }
  }

  /// Some samples of the batch.
  func samples(_ range: Range<Int>) throws(TorchError) -> Inputs {
    func part(_ tensor: Tensor) throws(TorchError) -> Tensor { try tensor.narrow(dim: 0, start: range.lowerBound, length: range.count) }
    return Inputs(
      x: try part(x), timesteps: try part(timesteps), labels: try labels.map(part), labelled: try labelled.map(part),
      lowRes: try lowRes.map(part), augLevels: try augLevels.map(part))
  }
}
