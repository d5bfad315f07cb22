package import Diffusion
package import UNet

/// The command line of guided-diffusion's sampling scripts, `--flag value …`, and what it says of a network and its diffusion process.
///
/// Flags that are left out have that program's defaults. Those that only concern how its scripts run are taken and ignored; one that asks for what
/// Weir does not compute is refused by name.
package struct GuidedDiffusionFlags: Sendable {
  package let network: UNetConfiguration
  package let schedule: Manifest.Schedule
  package let prediction: Prediction
  package let variance: Variance
  /// Of `--timestep_respacing`: 250, or ddim25 for DDIM; without it every training step is taken.
  package let sampler: Manifest.DefaultSampler

  private static let ignored: Set<String> = [
    "batch_size", "num_samples", "model_path", "use_fp16", "use_checkpoint", "use_kl", "base_samples", "clip_denoised", "classifier_path",
    "classifier_scale", "rescale_learned_sigmas",
  ]

  /// - Parameter classes: rows of the checkpoint's label table; `nil`: it has none. That program's own models have 1000.
  package init(_ text: String, classes: Int?) throws(CascadeError) {
    var flags = try Flags(text)
    let large = try flags.number("large_size", 0)
    let small = try flags.number("small_size", 0)
    let isUpsampler = large > 0 || small > 0
    guard !isUpsampler || (large > 0 && small > 0) else {
      throw CascadeError(.options, "--large_size and --small_size go together: they are an upsampler's")
    }
    let side = isUpsampler ? large : try flags.number("image_size", 64)
    let given = try flags.list("channel_mult")
    let levels = if let given { given } else { try Self.channelMult(side, isUpsampler) }
    var network = UNetConfiguration(
      imageSize: side, modelChannels: try flags.number("num_channels", 128), numResBlocks: try flags.number("num_res_blocks", 2),
      channelMult: levels)
    let resolutions = try flags.list("attention_resolutions") ?? [16, 8]
    network.attentionResolutions = resolutions.map { Int($0) }
    network.numHeads = try flags.number("num_heads", 4)
    network.numHeadChannels = try flags.number("num_head_channels", -1)
    network.dropout = try flags.real("dropout", 0)
    network.useScaleShiftNorm = try flags.truth("use_scale_shift_norm", true)
    network.resblockUpdown = try flags.truth("resblock_updown", false)
    network.useNewAttentionOrder = try flags.truth("use_new_attention_order", false)
    network.superResolution = isUpsampler
    let learnsSigma = try flags.truth("learn_sigma", false)
    network.outChannels = learnsSigma ? 6 : 3
    let isConditional = try flags.truth("class_cond", false)
    guard isConditional == (classes != nil) else {
      throw CascadeError(
        .options,
        isConditional
          ? "--class_cond True, but the checkpoint has no label_emb.weight: leave the flag out"
          : "the checkpoint has a table of labels, label_emb.weight: add --class_cond True")
    }
    network.numClasses = classes
    guard try [-1, network.numHeads].contains(flags.number("num_heads_upsample", -1)) else {
      throw CascadeError(.options, "--num_heads_upsample: only -1, or what --num_heads says, is computed")
    }
    let steps = try flags.number("diffusion_steps", 1000)
    guard (2...100_000).contains(steps) else { throw CascadeError(.options, "--diffusion_steps \(steps): give 2 to 100000") }
    let kind = try flags.text("noise_schedule") ?? "linear"
    guard let schedule = ScheduleKind(rawValue: kind) else {
      throw CascadeError(.options, "--noise_schedule \(kind): there are \(ScheduleKind.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    self.schedule = Manifest.Schedule(kind: schedule, steps: steps)
    guard try !flags.truth("rescale_timesteps", false) || steps == 1000 else {
      throw CascadeError(
        .options, "--rescale_timesteps True with --diffusion_steps \(steps): the network would be told other times, which is not computed")
    }
    prediction = try flags.truth("predict_xstart", false) ? .x0 : .epsilon
    variance = learnsSigma ? .learnedRange : .fixedLarge
    let usesDDIM = try flags.truth("use_ddim", false)
    sampler = try Self.sampler(try flags.text("timestep_respacing") ?? "", usesDDIM: usesDDIM, steps: steps)
    let unknown = flags.unread.subtracting(Self.ignored).sorted()
    guard unknown.isEmpty else {
      throw CascadeError(.options, "guided-diffusion's models have no flag \(unknown.map { "--\($0)" }.joined(separator: ", "))")
    }
    do {
      try network.validate()
    } catch {
      throw CascadeError(.options, error.message)
    }
    self.network = network
  }

  /// That program's channel multipliers by image size, where the flag is left out.
  private static func channelMult(_ side: Int, _ isUpsampler: Bool) throws(CascadeError) -> [Double] {
    switch (side, isUpsampler) {
    case (512, false): return [0.5, 1, 1, 2, 2, 4, 4]
    case (256, _), (512, true): return [1, 1, 2, 2, 4, 4]
    case (128, false): return [1, 1, 2, 3, 4]
    case (64, _): return [1, 2, 3, 4]
    default: throw CascadeError(.options, "--channel_mult is missing: for images of \(side) pixels there is no default")
    }
  }

  private static func sampler(_ respacing: String, usesDDIM: Bool, steps: Int) throws(CascadeError) -> Manifest.DefaultSampler {
    let isStrided = respacing.hasPrefix("ddim")
    let count = respacing.isEmpty ? steps : Int(respacing.dropFirst(isStrided ? 4 : 0))
    guard let count, (1...steps).contains(count) else {
      throw CascadeError(.options, "--timestep_respacing \(respacing): give a number of steps, such as 250 or ddim25")
    }
    return Manifest.DefaultSampler(kind: isStrided || usesDDIM ? .ddim : .ddpm, steps: count, spacing: .uniform)
  }
}

/// `--name value` pairs, and which of them nobody asked for yet.
private struct Flags {
  private let values: [String: String]
  private(set) var unread: Set<String>

  init(_ text: String) throws(CascadeError) {
    var values: [String: String] = [:]
    var words = text.split(whereSeparator: \.isWhitespace).map(String.init)[...]
    while let word = words.popFirst() {
      guard word.hasPrefix("--"), word.count > 2 else {
        throw CascadeError(.options, "\"\(word)\" is no flag: write --name value pairs, as on guided-diffusion's command line")
      }
      let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard let value = parts.count == 2 ? parts[1] : words.popFirst() else {
        throw CascadeError(.options, "\(word) has no value")
      }
      guard values.updateValue(value, forKey: parts[0]) == nil else { throw CascadeError(.options, "--\(parts[0]) is there twice") }
    }
    self.values = values
    unread = Set(values.keys)
  }

  mutating func text(_ name: String) throws(CascadeError) -> String? {
    unread.remove(name)
    return values[name]
  }

  mutating func number(_ name: String, _ otherwise: Int) throws(CascadeError) -> Int {
    guard let text = try text(name) else { return otherwise }
    guard let number = Int(text) else { throw CascadeError(.options, "--\(name) \(text): give a whole number") }
    return number
  }

  mutating func real(_ name: String, _ otherwise: Double) throws(CascadeError) -> Double {
    guard let text = try text(name) else { return otherwise }
    guard let number = Double(text), number.isFinite else { throw CascadeError(.options, "--\(name) \(text): give a number") }
    return number
  }

  mutating func truth(_ name: String, _ otherwise: Bool) throws(CascadeError) -> Bool {
    guard let text = try text(name) else { return otherwise }
    switch text.lowercased() {
    case "true", "yes", "t", "y", "1": return true
    case "false", "no", "f", "n", "0": return false
    default: throw CascadeError(.options, "--\(name) \(text): give True or False")
    }
  }

  /// `nil`: left out, or empty as that program's default is.
  mutating func list(_ name: String) throws(CascadeError) -> [Double]? {
    guard let text = try text(name), !text.isEmpty else { return nil }
    let numbers = text.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) }
    let known = numbers.compactMap { $0 }.filter { $0 > 0 && $0 <= 65_536 }
    guard known.count == numbers.count else { throw CascadeError(.options, "--\(name) \(text): give numbers with commas between them") }
    return known
  }
}
