import Diffusion
import Foundation
import Images
import Tensors
import UNet

@testable import Training

/// A folder that is gone when the test is.
final class TemporaryFolder: Sendable {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("weir-training-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// What a run said; kept across threads.
final class Messages: @unchecked Sendable {
  private let lock = NSLock()
  private var lines: [String] = []

  func add(_ line: String) { lock.withLock { lines.append(line) } }
  var all: [String] { lock.withLock { lines } }
}

/// A data folder with `count` images of `side` x `side` for each label: smooth, different from each other.
func makeData(in folder: String, labels: [String], count: Int, side: Int) throws {
  for (index, label) in labels.enumerated() {
    try FileManager.default.createDirectory(atPath: "\(folder)/\(label)", withIntermediateDirectories: true)
    for i in 0..<count {
      var pixels: [UInt8] = []
      for y in 0..<side {
        for x in 0..<side {
          pixels.append(UInt8((x * 255 / side + 60 * i) % 256))
          pixels.append(UInt8((y * 255 / side + 90 * index) % 256))
          pixels.append(UInt8((x + y + 17 * i) % 256))
        }
      }
      let image = RGBImage(width: side, height: side, pixels: pixels)
      try RunFile.write(image.png(), to: "\(folder)/\(label)/\(i).png")
    }
  }
}

func tinySetting(
  _ labels: [String] = ["a", "b"], side: Int = 16, learned: Bool = false, prediction: Prediction = .v
) throws -> StageSetting {
  let schedule = try Schedule(.cosine, steps: 100)
  let variance: Variance = learned ? .learnedRange : .fixedSmall
  return StageSetting(
    name: "tiny", labels: labels, resolution: side, schedule: schedule, prediction: prediction, variance: variance,
    sampler: try Sampler(.ddim, steps: 2, schedule: schedule, prediction: prediction, variance: variance))
}

/// 16x16 over 8x8.
func tinySuperResolution(_ labels: [String] = ["a", "b"], lowRes: StageSetting.LowRes) throws -> StageSetting {
  var setting = try tinySetting(labels)
  setting.lowResolution = 8
  setting.lowRes = lowRes
  return setting
}

func tinyNetwork(
  side: Int = 16, channels: Int = 32, mult: [Int] = [1, 1], classes: Int = 2, learned: Bool = false, superResolution: Bool = false,
  levels: Bool = false,
  dropout: Double = 0
) throws -> UNetConfiguration {
  let json = """
    {"image_size": \(side), "in_channels": 3, "model_channels": \(channels), "out_channels": \(learned ? 6 : 3), "num_res_blocks": 1,
     "channel_mult": \(mult), "attention_resolutions": [], "num_heads": 1, "num_head_channels": 32, "num_classes": \(classes),
     "dropout": \(dropout), "use_scale_shift_norm": true, "resblock_updown": true, "use_new_attention_order": false,
     "conv_resample": true, "learn_sigma": \(learned), "super_resolution": \(superResolution), "aug_levels": \(levels)}
    """
  return try JSONDecoder().decode(UNetConfiguration.self, from: Data(json.utf8))
}

func tinyTrainer(
  _ folder: TemporaryFolder, run: String = "run", setting: StageSetting? = nil, network: UNetConfiguration? = nil,
  recipe: Recipe? = nil, messages: Messages = Messages(), _ adjust: (inout TrainingOptions) -> Void = { _ in }
) throws -> Trainer {
  var options = TrainingOptions(out: "\(folder.path)/\(run)", data: "\(folder.path)/data")
  options.dtype = .f32
  options.threads = 1
  options.sampleEvery = 0
  adjust(&options)
  return try Trainer(
    setting: setting ?? tinySetting(), network: network ?? tinyNetwork(), recipe: recipe ?? Recipe(batch: 2), options: options,
    report: { messages.add($0) })
}

/// The farthest that two runs' weights and averages are from each other.
///
/// Comparable only with more channels than GroupNorm has groups: a lone channel's bias before it changes nothing, so its gradient is rounding alone,
/// which Adam makes as large as any other's step.
func distance(_ a: [Float], _ b: [Float]) -> Float {
  zip(a, b).reduce(a.count == b.count ? 0 : .infinity) { max($0, abs($1.0 - $1.1)) }
}

/// Of a trainer, the weights and then their averages.
func weights(_ trainer: Trainer) throws -> [Float] {
  try (trainer.network.parameters + trainer.average.parameters).flatMap { try $0.tensor.floats() }
}

/// What a run of `folder` logged.
func metrics(_ folder: TemporaryFolder, run: String = "run") throws -> [MetricsLog.Line] {
  let text = try String(contentsOfFile: "\(folder.path)/\(run)/metrics.jsonl", encoding: .utf8)
  return try text.split(separator: "\n").map { try JSONDecoder().decode(MetricsLog.Line.self, from: Data($0.utf8)) }
}

/// Whether two runs had the same losses and gradients, to 1e-5 of them: Adam and clipping hide their scale from the weights.
func agree(_ a: [MetricsLog.Line], _ b: [MetricsLog.Line]) -> Bool {
  a.map(\.step) == b.map(\.step)
    && zip(a, b).allSatisfy { abs($0.loss - $1.loss) < 1e-5 * $0.loss && abs($0.gradNorm - $1.gradNorm) < 1e-5 * $0.gradNorm }
}
