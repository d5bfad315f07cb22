package import Foundation

extension UNetConfiguration: Codable {
  private enum Key: String, CodingKey, CaseIterable {
    case imageSize = "image_size"
    case inChannels = "in_channels"
    case modelChannels = "model_channels"
    case outChannels = "out_channels"
    case learnSigma = "learn_sigma"
    case numResBlocks = "num_res_blocks"
    case channelMult = "channel_mult"
    case attentionResolutions = "attention_resolutions"
    case numHeads = "num_heads"
    case numHeadChannels = "num_head_channels"
    case numClasses = "num_classes"
    case dropout
    case useScaleShiftNorm = "use_scale_shift_norm"
    case resblockUpdown = "resblock_updown"
    case useNewAttentionOrder = "use_new_attention_order"
    case convResample = "conv_resample"
    case superResolution = "super_resolution"
    case augLevels = "aug_levels"
    case middleAttention = "middle_attention"
  }

  /// guided-diffusion's flags that don't change what the network computes, or only in ways that no published network uses.
  private enum InertKey: String, CodingKey, CaseIterable {
    case useCheckpoint = "use_checkpoint"
    case useFP16 = "use_fp16"
    case dimensions = "dims"
    case numHeadsUpsample = "num_heads_upsample"
  }

  private struct AnyKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  /// Reads and validates. Throws `UNetError` for flags that name no network and `DecodingError` for values of the wrong type.
  package init(from decoder: any Decoder) throws {
    let known = Key.allCases.map(\.rawValue) + InertKey.allCases.map(\.rawValue)
    let unknown = try decoder.container(keyedBy: AnyKey.self).allKeys.map(\.stringValue).filter { !known.contains($0) }.sorted()
    guard unknown.isEmpty else {
      throw UNetError(
        .configuration,
        "network: unknown key\(unknown.count == 1 ? "" : "s") \(unknown.map { "\"\($0)\"" }.joined(separator: ", ")); known are "
          + known.joined(separator: ", "))
    }
    let values = try decoder.container(keyedBy: Key.self)
    self.init(
      imageSize: try values.decode(Int.self, forKey: .imageSize),
      modelChannels: try values.decode(Int.self, forKey: .modelChannels),
      numResBlocks: try values.decode(Int.self, forKey: .numResBlocks),
      channelMult: try values.decode(FlagList<Double>.self, forKey: .channelMult).values)
    func set<Value: Decodable>(_ path: WritableKeyPath<Self, Value>, _ key: Key) throws {
      if let value = try values.decodeIfPresent(Value.self, forKey: key) { self[keyPath: path] = value }
    }
    try set(\.inChannels, .inChannels)
    outChannels = inChannels
    let learnSigma = try values.decodeIfPresent(Bool.self, forKey: .learnSigma)
    if learnSigma == true { outChannels *= 2 }
    try set(\.outChannels, .outChannels)
    if let list = try values.decodeIfPresent(FlagList<Int>.self, forKey: .attentionResolutions) { attentionResolutions = list.values }
    try set(\.numHeads, .numHeads)
    try set(\.numHeadChannels, .numHeadChannels)
    numClasses = try values.decodeIfPresent(Int.self, forKey: .numClasses)
    try set(\.dropout, .dropout)
    try set(\.useScaleShiftNorm, .useScaleShiftNorm)
    try set(\.resblockUpdown, .resblockUpdown)
    try set(\.useNewAttentionOrder, .useNewAttentionOrder)
    try set(\.convResample, .convResample)
    try set(\.superResolution, .superResolution)
    try set(\.augLevels, .augLevels)
    try set(\.middleAttention, .middleAttention)
    try validate()
    let inert = try decoder.container(keyedBy: InertKey.self)
    guard try inert.decodeIfPresent(Int.self, forKey: .dimensions) ?? 2 == 2 else {
      throw UNetError(.configuration, "network: dims must be 2: only images are supported")
    }
    guard try [-1, numHeads].contains(inert.decodeIfPresent(Int.self, forKey: .numHeadsUpsample) ?? -1) else {
      throw UNetError(.configuration, "network: num_heads_upsample must be -1 or num_heads (\(numHeads))")
    }
    guard learnSigma == nil || learnSigma == self.learnSigma else {
      throw UNetError(
        .configuration,
        "network: learn_sigma is \(self.learnSigma ? "false" : "true") but out_channels is \(outChannels) for \(inChannels) in_channels:"
          + " leave one of them out")
    }
  }

  /// Reads a JSON object of flags.
  package init(json: Data) throws(UNetError) {
    do {
      self = try JSONDecoder().decode(Self.self, from: json)
    } catch let error as UNetError {
      throw error
    } catch DecodingError.keyNotFound(let key, _) {
      throw UNetError(.configuration, "network: \(key.stringValue) is missing")
    } catch DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context), DecodingError.dataCorrupted(
      let context)
    {
      let place = context.codingPath.map(\.stringValue).joined(separator: ".")
      throw UNetError(.configuration, "network: \(place.isEmpty ? "" : place + ": ")\(context.debugDescription)")
    } catch {
      throw UNetError(.configuration, "network: \(error)")
    }
  }

  package func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: Key.self)
    try values.encode(imageSize, forKey: .imageSize)
    try values.encode(inChannels, forKey: .inChannels)
    try values.encode(modelChannels, forKey: .modelChannels)
    try values.encode(outChannels, forKey: .outChannels)
    try values.encode(learnSigma, forKey: .learnSigma)
    try values.encode(numResBlocks, forKey: .numResBlocks)
    try values.encode(channelMult, forKey: .channelMult)
    try values.encode(attentionResolutions, forKey: .attentionResolutions)
    try values.encode(numHeads, forKey: .numHeads)
    try values.encode(numHeadChannels, forKey: .numHeadChannels)
    try values.encodeIfPresent(numClasses, forKey: .numClasses)
    try values.encode(dropout, forKey: .dropout)
    try values.encode(useScaleShiftNorm, forKey: .useScaleShiftNorm)
    try values.encode(resblockUpdown, forKey: .resblockUpdown)
    try values.encode(useNewAttentionOrder, forKey: .useNewAttentionOrder)
    try values.encode(convResample, forKey: .convResample)
    try values.encode(superResolution, forKey: .superResolution)
    try values.encode(augLevels, forKey: .augLevels)
    try values.encode(middleAttention, forKey: .middleAttention)
  }
}

/// A list of numbers, written as an array or as guided-diffusion writes it: "32,16,8" (empty for none).
private struct FlagList<Number: Decodable & LosslessStringConvertible>: Decodable {
  let values: [Number]

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let text = try? container.decode(String.self) else {
      values = try container.decode([Number].self)
      return
    }
    values = try text.split(separator: ",").map { item in
      guard let value = Number(String(item).filter { $0 != " " }) else {
        throw DecodingError.dataCorruptedError(in: container, debugDescription: "\"\(text)\" is not a list of numbers: write \"32,16,8\"")
      }
      return value
    }
  }
}
