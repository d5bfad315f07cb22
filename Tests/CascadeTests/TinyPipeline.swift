import Cascade
import Foundation
import Tensors
import UNet

/// A three-stage pipeline 8 → 16 → 64 with random weights, the zeroed layers too, in a folder of its own.
struct TinyPipeline {
  let directory: String

  /// Made once, for tests that only read it; removed when the process ends.
  static let shared: Result<TinyPipeline, any Error> = Result {
    let made = try TinyPipeline()
    atexit { try? TinyPipeline.shared.get().remove() }
    return made
  }

  init() throws {
    directory = FileManager.default.temporaryDirectory.appendingPathComponent("weir-cascade-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    try write(manifest: Self.manifest)
    for (index, stage) in try Manifest.load(directory).stages.enumerated() {
      try Self.writeWeights(stage.network, seed: UInt64(index), to: directory + "/" + stage.weights)
    }
  }

  func write(manifest: String) throws {
    try Data(manifest.utf8).write(to: URL(fileURLWithPath: directory + "/cascade.json"))
  }

  /// A copy that a test may damage.
  func copy() throws -> TinyPipeline {
    let target = directory + "-" + UUID().uuidString
    try FileManager.default.copyItem(atPath: directory, toPath: target)
    return TinyPipeline(directory: target)
  }

  private init(directory: String) { self.directory = directory }

  func remove() { try? FileManager.default.removeItem(atPath: directory) }

  static func writeWeights(_ configuration: UNetConfiguration, seed: UInt64, to path: String) throws {
    let network = try UNet(configuration, seed: seed)
    var tensors: [(String, Tensor)] = []
    for (index, (name, tensor)) in network.parameters.enumerated() {
      let noise = try Tensor.randn(shape: tensor.shape, seed: seed &* 1000 &+ UInt64(index)).mul(0.05)
      tensors.append((name, try tensor.detach().add(noise)))
    }
    try Safetensors.write(tensors, to: path)
  }

  static let manifest = """
    {
      "name": "tiny", "labels": ["round", "square", "three sides"],
      "stages": [
        {
          "name": "base8", "resolution": 8, "weights": "base8.safetensors",
          "network": { "image_size": 8, "model_channels": 32, "num_res_blocks": 1, "channel_mult": [1, 2], "num_head_channels": 32,
            "num_classes": 3, "attention_resolutions": [4], "resblock_updown": true, "learn_sigma": true },
          "schedule": { "kind": "cosine", "steps": 1000 }, "prediction": "epsilon", "variance": "learned_range", "conditioning": null,
          "sampler": { "kind": "ddpm", "steps": 5, "eta": 0 }, "guidance": { "weight": 1 },
          "smoothing": { "range": 100, "radius": 2, "rounds": 2 }, "dtype": "bf16"
        },
        {
          "name": "sr16", "resolution": 16, "weights": "sr16.safetensors",
          "network": { "image_size": 16, "model_channels": 32, "num_res_blocks": 1, "channel_mult": [1, 2], "num_classes": 3,
            "super_resolution": true, "aug_levels": true },
          "schedule": { "kind": "cosine", "steps": 1000 }, "prediction": "v", "variance": "fixed_small",
          "conditioning": { "upsampling": "bilinear", "augmentation": { "kind": "gaussian", "max_level": 600, "default_level": 100 } },
          "sampler": { "kind": "dpm++2m", "steps": 4, "spacing": { "kind": "karras", "rho": 7, "sigma_min": 0.05, "sigma_max": 80 } },
          "guidance": { "weight": 1, "threshold": 0.9 }, "dtype": "bf16"
        },
        {
          "name": "sr64", "resolution": 64, "weights": "sr64.safetensors",
          "network": { "image_size": 64, "model_channels": 32, "num_res_blocks": 1, "channel_mult": [1, 1, 2], "num_classes": 3,
            "super_resolution": true },
          "schedule": { "kind": "linear", "steps": 1000 }, "prediction": "v", "variance": "fixed_small",
          "conditioning": { "upsampling": "bilinear", "augmentation": { "kind": "blur", "sigma": [0.4, 0.6], "probability": 0.5 } },
          "sampler": { "kind": "dpm++2m", "steps": 3 }, "dtype": "bf16"
        }
      ]
    }
    """
}
