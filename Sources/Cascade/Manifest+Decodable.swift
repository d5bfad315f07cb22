package import Diffusion
import Foundation
import Tensors
import UNet

extension Manifest: Decodable {
  private enum Key: String, CodingKey, CaseIterable { case name, labels, stages }

  private static let maxBytes = 4 << 20

  /// Reads `cascade.json` in a pipeline's folder and checks everything that can be checked without the weights.
  package static func load(_ directory: String) throws(CascadeError) -> Manifest { try read(directory).manifest }

  /// The manifest and the bytes that it was read from.
  static func read(_ directory: String) throws(CascadeError) -> (manifest: Manifest, bytes: Data) {
    let path = directory + "/" + fileName
    let bytes: Data
    do {
      let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
      defer { try? handle.close() }
      bytes = try handle.read(upToCount: maxBytes + 1) ?? Data()
    } catch {
      throw CascadeError(
        .unreadable, "\(path): cannot be read (\(error.localizedDescription)); name the folder of a pipeline, which holds \(fileName)")
    }
    guard bytes.count <= maxBytes else { throw CascadeError(.manifest, "\(path): larger than \(maxBytes >> 20) MiB; is it the manifest?") }
    return (try decode(bytes, path), bytes)
  }

  /// - Parameter path: where the bytes are, for messages.
  static func decode(_ bytes: Data, _ path: String) throws(CascadeError) -> Manifest {
    do {
      return try JSONDecoder().decode(Manifest.self, from: bytes)
    } catch let error as DecodingError {
      throw CascadeError(.manifest, "\(path): \(syntaxError(bytes) ?? text(of: error))")
    } catch {
      throw CascadeError(.manifest, "\(path): \(error)")
    }
  }

  /// What is wrong with bytes that are no JSON; the decoder does not say where.
  private static func syntaxError(_ bytes: Data) -> String? {
    do {
      _ = try JSONSerialization.jsonObject(with: bytes)
      return nil
    } catch {
      let detail = (error as NSError).userInfo["NSDebugDescription"] as? String
      return "not valid JSON: \(detail ?? error.localizedDescription)"
    }
  }

  private static func text(of error: DecodingError) -> String {
    func at(_ path: [any CodingKey], _ message: String) -> String { (path.isEmpty ? "" : keyPath(path) + ": ") + message }
    switch error {
    case .keyNotFound(let key, let context): return at(context.codingPath + [key], "is missing")
    case .valueNotFound(_, let context): return at(context.codingPath, "is null but needs a value")
    case .typeMismatch(let type, let context): return at(context.codingPath, "has the wrong type; it must be \(name(of: type))")
    case .dataCorrupted(let context):
      return at(context.codingPath, context.debugDescription)
    @unknown default: return "\(error)"
    }
  }

  private static func name(of type: any Any.Type) -> String {
    switch type {
    case is String.Type: "a string"
    case is Bool.Type: "true or false"
    case is Int.Type: "a whole number"
    case is Double.Type: "a number"
    case is any Collection.Type: "a list"
    default: "an object"
    }
  }

  package init(from decoder: any Decoder) throws {
    let values = try decoder.strict(Key.self)
    name = try values.name(forKey: .name)
    labels = try values.decode([String].self, forKey: .labels)
    guard (1...100_000).contains(labels.count), Set(labels).count == labels.count else {
      throw values.problem(.labels, "give 1 to 100000 labels, no two alike")
    }
    for label in labels {
      guard (1...128).contains(label.utf8.count), !label.hasPrefix("."), Int(label) == nil, label != "all",
        label.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F && $0 != "/" && $0 != "," })
      else {
        throw values.problem(
          .labels,
          "\"\(label)\" cannot be a label: 1 to 128 bytes, no \"/\", \",\" or control characters, not beginning with \".\", not a number, not \"all\""
        )
      }
    }
    stages = try values.decode([Stage].self, forKey: .stages)
    guard (1...16).contains(stages.count), Set(stages.map(\.name)).count == stages.count else {
      throw values.problem(.stages, "give 1 to 16 stages with different names")
    }
    for (index, stage) in stages.enumerated() { try check(stage, index, values) }
  }

  /// What a stage owes to the one below and to the labels.
  private func check(_ stage: Stage, _ index: Int, _ values: KeyedDecodingContainer<Key>) throws {
    func require(_ condition: Bool, _ key: String, _ message: String) throws {
      guard !condition else { return }
      throw values.problem(.stages, "stages[\(index)].\(key): \(message)")
    }
    if let classes = stage.network.numClasses {
      try require(
        classes == labels.count, "network.num_classes", "is \(classes) but the pipeline has \(labels.count) labels: make them equal")
    }
    guard index > 0 else {
      try require(stage.conditioning == nil, "conditioning", "the first stage has no input: give null")
      try require(!stage.network.superResolution, "network.super_resolution", "the first stage has no input: give false")
      return
    }
    let below = stages[index - 1]
    try require(stage.conditioning != nil, "conditioning", "is missing: this stage enlarges the output of \(below.name)")
    try require(stage.network.superResolution, "network.super_resolution", "this stage enlarges the output of \(below.name): give true")
    try require(
      stage.resolution > below.resolution && stage.resolution % below.resolution == 0, "resolution",
      "\(stage.resolution) is not a multiple of the \(below.resolution) of \(below.name)")
    try require(
      stage.maxAug <= below.schedule.steps, "conditioning.augmentation.max_level",
      "\(stage.maxAug) is more than the \(below.schedule.steps) training steps of \(below.name), on whose schedule it counts")
  }
}

extension Manifest.Stage: Decodable {
  private enum Key: String, CodingKey, CaseIterable {
    case name, resolution, weights, network, schedule, prediction, variance, conditioning, sampler, guidance, smoothing, dtype
  }

  private enum Precision: String, CaseIterable { case f32, bf16 }

  package init(from decoder: any Decoder) throws {
    let values = try decoder.strict(Key.self)
    name = try values.name(forKey: .name)
    resolution = try values.number(1...4096, forKey: .resolution)
    weights = try values.name(forKey: .weights)
    guard weights.hasSuffix(".safetensors") else {
      throw values.problem(.weights, "\"\(weights)\" is not the name of a .safetensors file beside the manifest")
    }
    do {
      network = try values.decode(UNetConfiguration.self, forKey: .network)
    } catch let error as UNetError {
      throw values.problem(.network, error.message)
    }
    schedule = try values.decode(Manifest.Schedule.self, forKey: .schedule)
    prediction = try values.choice(Prediction.self, forKey: .prediction)
    variance = try values.choice(Variance.self, forKey: .variance)
    conditioning = try values.decodeIfPresent(Manifest.Conditioning.self, forKey: .conditioning)
    sampler = try values.decode(Manifest.DefaultSampler.self, forKey: .sampler)
    guidance = try values.decodeIfPresent(GuidanceSetting.self, forKey: .guidance)?.value
    smoothing = try values.decodeIfPresent(SmoothingSetting.self, forKey: .smoothing)?.value
    dtype = try values.choice(Precision.self, forKey: .dtype) == .f32 ? .f32 : .bf16
    guard network.imageSize == resolution else {
      throw values.problem(.network, "image_size \(network.imageSize) is not the stage's resolution \(resolution)")
    }
    guard network.inChannels == 3, network.outChannels == variance.outputChannels else {
      throw values.problem(
        .network,
        "in_channels \(network.inChannels), out_channels \(network.outChannels): a variance of \"\(variance.rawValue)\" goes with 3 and \(variance.outputChannels)"
      )
    }
    var takesAug = false
    if case .gaussian = conditioning?.augmentation { takesAug = true }
    guard network.augLevels == takesAug else {
      throw values.problem(.network, "aug_levels is \(network.augLevels): it is true exactly for Gaussian augmentation")
    }
    guard guidance == nil || network.numClasses != nil else {
      throw values.problem(.guidance, "the network knows no labels (network.num_classes), so there is nothing to guide it by: leave it out")
    }
    guard sampler.steps <= schedule.steps else {
      throw values.problem(.sampler, "\(sampler.steps) steps are more than the \(schedule.steps) training steps")
    }
  }
}

extension Manifest.Schedule: Decodable {
  private enum Key: String, CodingKey, CaseIterable { case kind, steps }

  package init(from decoder: any Decoder) throws {
    let values = try decoder.strict(Key.self)
    kind = try values.choice(ScheduleKind.self, forKey: .kind)
    steps = try values.number(2...100_000, forKey: .steps)
  }

  /// The tables.
  package func tables() throws(CascadeError) -> Diffusion.Schedule {
    do {
      return try Diffusion.Schedule(kind, steps: steps)
    } catch {
      throw CascadeError(.manifest, error.message)
    }
  }
}

extension Manifest.Conditioning: Decodable {
  private enum Key: String, CodingKey, CaseIterable { case upsampling, augmentation }
  private enum Upsampling: String, CaseIterable { case bilinear }

  package init(from decoder: any Decoder) throws {
    let values = try decoder.strict(Key.self)
    _ = try values.choice(Upsampling.self, forKey: .upsampling)
    augmentation = try values.decodeIfPresent(Manifest.Augmentation.self, forKey: .augmentation)
  }
}

extension Manifest.Augmentation: Decodable {
  private enum Kind: String, CaseIterable { case gaussian, blur }
  private enum KindKey: String, CodingKey { case kind }
  private enum GaussianKey: String, CodingKey, CaseIterable {
    case kind
    case maxLevel = "max_level"
    case defaultLevel = "default_level"
  }
  private enum BlurKey: String, CodingKey, CaseIterable { case kind, sigma, probability }

  package init(from decoder: any Decoder) throws {
    switch try decoder.container(keyedBy: KindKey.self).choice(Kind.self, forKey: .kind) {
    case .gaussian:
      let values = try decoder.strict(GaussianKey.self)
      let highest = try values.number(1...100_000, forKey: .maxLevel)
      self = .gaussian(maxLevel: highest, defaultLevel: try values.number(0...highest, forKey: .defaultLevel))
    case .blur:
      let values = try decoder.strict(BlurKey.self)
      let sigma = try values.decode([Double].self, forKey: .sigma)
      guard sigma.count == 2, sigma[0] > 0, sigma[0] <= sigma[1], sigma[1] <= 100 else {
        throw values.problem(.sigma, "give the smallest and the largest sigma in pixels, such as [0.4, 0.6]")
      }
      self = .blur(sigma: sigma[0]...sigma[1], probability: try values.number(0...1, forKey: .probability))
    }
  }
}

extension Manifest.DefaultSampler: Decodable {
  private enum Key: String, CodingKey, CaseIterable { case kind, steps, spacing, eta }

  package init(from decoder: any Decoder) throws {
    let values = try decoder.strict(Key.self)
    kind = try values.choice(SamplerKind.self, forKey: .kind)
    steps = try values.number(1...100_000, forKey: .steps)
    spacing = try values.decodeIfPresent(Spacing.self, forKey: .spacing)?.value ?? .uniform
    guard try values.decodeIfPresent(Double.self, forKey: .eta) ?? 0 == 0 else {
      throw values.problem(.eta, "must be 0 or left out: another eta is a job's choice (--eta)")
    }
  }
}

/// `{"weight": 2, "threshold": 0.995}`; without a threshold there is no dynamic thresholding.
private struct GuidanceSetting: Decodable {
  private enum Key: String, CodingKey, CaseIterable { case weight, threshold }

  let value: Guidance

  init(from decoder: any Decoder) throws {
    let values = try decoder.strict(Key.self)
    let weight = try values.number(Guidance.weights, forKey: .weight)
    do {
      value = try Guidance(weight: weight, threshold: values.decodeIfPresent(Double.self, forKey: .threshold))
    } catch let error as DiffusionError {
      throw values.problem(.threshold, error.message)
    }
  }
}

/// `{"range": 16, "radius": 2, "rounds": 2}`
private struct SmoothingSetting: Decodable {
  private enum Key: String, CodingKey, CaseIterable { case range, radius, rounds }

  let value: Smoothing

  init(from decoder: any Decoder) throws {
    let values = try decoder.strict(Key.self)
    value = try Smoothing(
      range: values.number(Smoothing.ranges, forKey: .range), radius: values.number(Smoothing.radii, forKey: .radius),
      rounds: values.number(Smoothing.roundCounts, forKey: .rounds))
  }
}

/// `{"kind": "uniform"}`, or Karras's with its own names for its numbers.
private struct Spacing: Decodable {
  private enum Kind: String, CaseIterable { case uniform, karras }
  private enum KindKey: String, CodingKey { case kind }
  private enum UniformKey: String, CodingKey, CaseIterable { case kind }
  private enum KarrasKey: String, CodingKey, CaseIterable {
    case kind, rho
    case sigmaMin = "sigma_min"
    case sigmaMax = "sigma_max"
  }

  let value: StepSpacing

  init(from decoder: any Decoder) throws {
    switch try decoder.container(keyedBy: KindKey.self).choice(Kind.self, forKey: .kind) {
    case .uniform:
      _ = try decoder.strict(UniformKey.self)
      value = .uniform
    case .karras:
      let values = try decoder.strict(KarrasKey.self)
      let rho = try values.number(1.0...100, forKey: .rho)
      let lowest = try values.number(1e-6...1e6, forKey: .sigmaMin)
      let highest = try values.number(1e-6...1e6, forKey: .sigmaMax)
      guard lowest < highest else { throw values.problem(.sigmaMax, "\(highest) is not above sigma_min, \(lowest)") }
      value = .karras(rho: rho, noise: lowest...highest)
    }
  }
}
