/// Which network: guided-diffusion's flags, under its names (snake_case in JSON), and Weir's own, `aug_levels` and `middle_attention`.
///
/// JSON may leave out every flag but `image_size`, `model_channels`, `num_res_blocks` and `channel_mult`. Lists are arrays or guided-diffusion's
/// comma-separated strings. Unknown keys are refused by name, so that a misspelt flag can't silently give another network.
package struct UNetConfiguration: Hashable, Sendable {
  /// Side of the images the network denoises, in pixels; for a super-resolution network, of the large ones.
  package var imageSize: Int
  /// Channels of x; a super-resolution network's first convolution sees twice as many.
  package var inChannels = 3
  package var modelChannels: Int
  /// Channels of the output: `inChannels`, or twice as many where the network also gives variance logits (`learn_sigma`).
  package var outChannels = 3
  package var numResBlocks: Int
  /// Channels of each level as a multiple of `modelChannels`, finest level first.
  package var channelMult: [Double]
  /// Sides of the feature maps, in pixels, that get attention; the middle block has its own flag.
  package var attentionResolutions: [Int] = []
  /// Attention heads where `numHeadChannels` is -1.
  package var numHeads = 1
  /// Channels of one attention head; -1: as `numHeads` says.
  package var numHeadChannels = -1
  /// Labels the network knows; nil: it takes none.
  package var numClasses: Int?
  /// Probability that training drops an activation before the second convolution of a residual block.
  package var dropout = 0.0
  /// The embedding scales and shifts the second GroupNorm of a residual block; false: it's added before it.
  package var useScaleShiftNorm = true
  /// Residual blocks change the resolution; false: convolutions (`convResample`) or plain pooling and repetition do.
  package var resblockUpdown = false
  /// qkv channels ordered {q,k,v} first, then heads; false: heads first.
  package var useNewAttentionOrder = false
  package var convResample = true
  /// The network also sees a low-resolution image, upsampled bilinearly and joined after x.
  package var superResolution = false
  /// The network is also told the conditioning-augmentation level s.
  package var augLevels = false
  /// Attention in the middle block; false lets a network trained on windows be served on whole images, where attention would see other
  /// distances than it learned.
  package var middleAttention = true

  package init(imageSize: Int, modelChannels: Int, numResBlocks: Int, channelMult: [Double]) {
    self.imageSize = imageSize
    self.modelChannels = modelChannels
    self.numResBlocks = numResBlocks
    self.channelMult = channelMult
  }

  /// The output's second half holds variance logits.
  package var learnSigma: Bool { outChannels == 2 * inChannels }

  /// Width of the embedding of t, label and s.
  var embeddingChannels: Int { 4 * modelChannels }

  /// Channels of each level, finest first.
  var levelChannels: [Int] { channelMult.map { Int($0 * Double(modelChannels)) } }

  /// Downsampling factors with attention.
  var attentionFactors: Set<Int> { Set(attentionResolutions.map { imageSize / $0 }) }

  /// Attention heads of a feature map of `channels` channels.
  func heads(_ channels: Int) -> Int { numHeadChannels == -1 ? numHeads : channels / numHeadChannels }
}

// MARK: Checks

extension UNetConfiguration {
  /// GroupNorm's groups, in the whole network.
  static let groups = 32

  /// Throws unless the flags name a network that can be built.
  package func validate() throws(UNetError) {
    func require(_ condition: Bool, _ message: @autoclosure () -> String) throws(UNetError) {
      if !condition { throw UNetError(.configuration, message()) }
    }
    func require(_ name: String, _ value: Int, in range: ClosedRange<Int>) throws(UNetError) {
      try require(range.contains(value), "\(name) is \(value): give \(range.lowerBound) to \(range.upperBound)")
    }
    try require("image_size", imageSize, in: 1...8192)
    try require("in_channels", inChannels, in: 1...64)
    try require("model_channels", modelChannels, in: 1...4096)
    try require("num_res_blocks", numResBlocks, in: 1...32)
    try require("the number of channel_mult's entries", channelMult.count, in: 1...10)
    try require("num_heads", numHeads, in: 1...1024)
    try require(
      numHeadChannels == -1 || (1...4096).contains(numHeadChannels),
      "num_head_channels is \(numHeadChannels): give 1 to 4096, or -1 to use num_heads")
    if let numClasses { try require("num_classes", numClasses, in: 1...1_000_000) }
    try require(dropout >= 0 && dropout < 1, "dropout is \(dropout): give a probability from 0 to below 1")
    try require(
      outChannels == inChannels || outChannels == 2 * inChannels,
      "out_channels is \(outChannels): give in_channels (\(inChannels)), or \(2 * inChannels) with learn_sigma")
    for multiple in channelMult {
      let channels = multiple * Double(modelChannels)
      try require(
        channels >= 1 && channels <= 65536 && Int(channels) % Self.groups == 0,
        "channel_mult \(multiple) x model_channels \(modelChannels) gives \(channels) channels: give a multiple of \(Self.groups)"
          + " (GroupNorm's groups), at most 65536")
    }
    let coarsest = 1 << (channelMult.count - 1)
    try require(
      imageSize % coarsest == 0,
      "image_size \(imageSize) can't be halved \(channelMult.count - 1) times: give a multiple of \(coarsest), or fewer channel_mult entries"
    )
    for resolution in attentionResolutions {
      try require(
        resolution >= 1 && imageSize % resolution == 0,
        "attention resolution \(resolution) doesn't divide image_size \(imageSize): give sides of feature maps, such as \(imageSize / coarsest)"
      )
    }
    var attended = middleAttention ? [(levelChannels.count - 1, levelChannels[levelChannels.count - 1])] : []
    attended += levelChannels.enumerated().filter { attentionFactors.contains(1 << $0.offset) }
    for (level, channels) in attended {
      let unit = numHeadChannels == -1 ? numHeads : numHeadChannels
      try require(
        channels % unit == 0,
        "\(numHeadChannels == -1 ? "num_heads" : "num_head_channels") \(unit) doesn't divide the \(channels) channels of level \(level),"
          + " which has attention")
    }
  }
}
