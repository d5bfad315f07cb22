/// Builds the network's structure from the flags: names, shapes and starting values, but no tensors.
struct NetworkLayout {
  private let configuration: UNetConfiguration
  private var residualBlocks = 0
  /// Side of the feature maps at the place that is being built.
  private var side: Int

  /// The structure of a valid configuration's network.
  static func network(_ configuration: UNetConfiguration) -> Network<Parameter> {
    var layout = NetworkLayout(configuration: configuration)
    return layout.build()
  }

  private init(configuration: UNetConfiguration) {
    self.configuration = configuration
    side = configuration.imageSize
  }

  private mutating func build() -> Network<Parameter> {
    let levels = configuration.levelChannels
    let width = configuration.embeddingChannels
    let attended = configuration.attentionFactors
    let inChannels = configuration.inChannels * (configuration.superResolution ? 2 : 1)

    func embedding(_ name: String) -> [Affine<Parameter>] {
      [
        linear("\(name).0", from: configuration.modelChannels, to: width),
        linear("\(name).2", from: width, to: width),
      ]
    }
    let timeEmbed = embedding("time_embed")
    let labelTable = configuration.numClasses.map {
      Parameter(name: "label_emb.weight", shape: [$0, width], role: .table, start: .normal)
    }
    let augEmbed = configuration.augLevels ? embedding("aug_embed") : nil

    var channels = levels[0]
    var input: [[Layer<Parameter>]] = [[.convolution(convolution("input_blocks.0.0", from: inChannels, to: channels))]]
    var skips = [channels]
    for (level, levelChannels) in levels.enumerated() {
      for _ in 0..<configuration.numResBlocks {
        let prefix = "input_blocks.\(input.count)"
        var block = [Layer.residual(residual("\(prefix).0", from: channels, to: levelChannels))]
        channels = levelChannels
        if attended.contains(configuration.imageSize / side) { block.append(.attention(attention("\(prefix).1", channels))) }
        input.append(block)
        skips.append(channels)
      }
      if level != levels.count - 1 {
        input.append([down("input_blocks.\(input.count).0", channels)])
        skips.append(channels)
      }
    }

    var middle = [Layer.residual(residual("middle_block.0", from: channels, to: channels))]
    if configuration.middleAttention { middle.append(.attention(attention("middle_block.1", channels))) }
    middle.append(.residual(residual("middle_block.2", from: channels, to: channels)))

    var output: [[Layer<Parameter>]] = []
    for (level, levelChannels) in levels.enumerated().reversed() {
      for place in 0...configuration.numResBlocks {
        let prefix = "output_blocks.\(output.count)"
        var block = [Layer.residual(residual("\(prefix).0", from: channels + skips.removeLast(), to: levelChannels))]
        channels = levelChannels
        if attended.contains(configuration.imageSize / side) { block.append(.attention(attention("\(prefix).1", channels))) }
        if level > 0 && place == configuration.numResBlocks { block += up("\(prefix).\(block.count)", channels) }
        output.append(block)
      }
    }

    return Network(
      timeEmbed: timeEmbed, labelTable: labelTable, augEmbed: augEmbed, inputBlocks: input, middleBlock: middle, outputBlocks: output,
      outNorm: norm("out.0", channels),
      outConvolution: convolution("out.2", from: channels, to: configuration.outChannels, zeroed: true))
  }

  private mutating func residual(_ name: String, from: Int, to: Int, resample: Resample? = nil) -> ResidualBlock<Parameter> {
    defer { residualBlocks += 1 }
    let scaleShift = configuration.useScaleShiftNorm
    return ResidualBlock(
      index: residualBlocks, resample: resample, scaleShift: scaleShift, inNorm: norm("\(name).in_layers.0", from),
      inConvolution: convolution("\(name).in_layers.2", from: from, to: to),
      modulation: linear(
        "\(name).emb_layers.1", from: configuration.embeddingChannels, to: scaleShift ? 2 * to : to, role: .modulation),
      outNorm: norm("\(name).out_layers.0", to),
      outConvolution: convolution("\(name).out_layers.3", from: to, to: to, zeroed: true),
      skip: from == to ? nil : convolution("\(name).skip_connection", from: from, to: to, kernel: [1, 1]))
  }

  private func attention(_ name: String, _ channels: Int) -> AttentionBlock<Parameter> {
    AttentionBlock(
      heads: configuration.heads(channels), newOrder: configuration.useNewAttentionOrder, norm: norm("\(name).norm", channels),
      qkv: convolution("\(name).qkv", from: channels, to: 3 * channels, kernel: [1]),
      projection: convolution("\(name).proj_out", from: channels, to: channels, kernel: [1], zeroed: true))
  }

  private mutating func down(_ name: String, _ channels: Int) -> Layer<Parameter> {
    let strided = convolution("\(name).op", from: channels, to: channels, stride: 2)
    side /= 2
    if configuration.resblockUpdown { return .residual(residual(name, from: channels, to: channels, resample: .down)) }
    return configuration.convResample ? .convolution(strided) : .resample(.down)
  }

  private mutating func up(_ name: String, _ channels: Int) -> [Layer<Parameter>] {
    side *= 2
    if configuration.resblockUpdown { return [.residual(residual(name, from: channels, to: channels, resample: .up))] }
    if configuration.convResample { return [.resample(.up), .convolution(convolution("\(name).conv", from: channels, to: channels))] }
    return [.resample(.up)]
  }

  private func convolution(
    _ name: String, from: Int, to: Int, kernel: [Int] = [3, 3], stride: Int = 1, zeroed: Bool = false
  ) -> Convolution<Parameter> {
    let padding = kernel[0] / 2
    let start = zeroed ? Parameter.Start.zeros : .uniform(bound: 1 / Double(kernel.reduce(from, *)).squareRoot())
    return Convolution(
      weight: Parameter(
        name: "\(name).weight", shape: [to, from] + kernel, role: .convolutionWeight(stride: stride, padding: padding, side: side),
        start: start),
      bias: Parameter(name: "\(name).bias", shape: [to], role: .convolutionBias, start: start),
      stride: stride, padding: padding)
  }

  private func linear(_ name: String, from: Int, to: Int, role: Parameter.Role = .embedding) -> Affine<Parameter> {
    let start = Parameter.Start.uniform(bound: 1 / Double(from).squareRoot())
    return Affine(
      weight: Parameter(name: "\(name).weight", shape: [to, from], role: role, start: start),
      bias: Parameter(name: "\(name).bias", shape: [to], role: role, start: start))
  }

  private func norm(_ name: String, _ channels: Int) -> Affine<Parameter> {
    Affine(
      weight: Parameter(name: "\(name).weight", shape: [channels], role: .norm, start: .ones),
      bias: Parameter(name: "\(name).bias", shape: [channels], role: .norm, start: .zeros))
  }
}
