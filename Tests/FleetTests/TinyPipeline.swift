import Foundation
import Tensors
import UNet

/// A real pipeline of three stages, 8 → 16 → 32, with random weights (the layers that training starts at zero, too), in a folder of its own.
struct TinyPipeline {
  static let stages = ["base8", "sr16", "sr32"]
  static let labels = ["round", "square", "three sides"]

  let folder: String

  init() throws {
    folder = FileManager.default.temporaryDirectory.appending(path: "weir-tiny-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let stages = try [
      Self.stage(0, Self.network(8, #""channel_mult": [1, 2], "num_head_channels": 32, "attention_resolutions": [4]"#), "cosine"),
      Self.stage(1, Self.network(16, #""channel_mult": [1, 2], "super_resolution": true, "aug_levels": true"#), "cosine"),
      Self.stage(2, Self.network(32, #""channel_mult": [1, 1], "super_resolution": true"#), "linear"),
    ]
    for (index, stage) in stages.enumerated() { try write(stage.network, to: weights(index), seed: UInt64(index)) }
    let labels = Self.labels.map { "\"\($0)\"" }.joined(separator: ", ")
    let manifest = "{ \"name\": \"tiny\", \"labels\": [\(labels)], \"stages\": [\(stages.map(\.text).joined(separator: ",\n"))] }"
    try Data(manifest.utf8).write(to: URL(fileURLWithPath: "\(folder)/cascade.json"))
  }

  func weights(_ stage: Int) -> String { "\(folder)/\(Self.stages[stage]).safetensors" }

  func remove() { try? FileManager.default.removeItem(atPath: folder) }

  private static func network(_ size: Int, _ more: String) -> String {
    """
    { "image_size": \(size), "model_channels": 32, "num_res_blocks": 1, "num_classes": \(labels.count), \(more) }
    """
  }

  private static func stage(_ index: Int, _ network: String, _ schedule: String) throws -> (network: UNetConfiguration, text: String) {
    let conditioning = [
      "null", #"{ "upsampling": "bilinear", "augmentation": { "kind": "gaussian", "max_level": 600, "default_level": 100 } }"#,
      #"{ "upsampling": "bilinear", "augmentation": { "kind": "blur", "sigma": [0.4, 0.6], "probability": 0.5 } }"#,
    ]
    let sampler = [#"{ "kind": "ddpm", "steps": 5 }"#, #"{ "kind": "dpm++2m", "steps": 4 }"#, #"{ "kind": "ddim", "steps": 3 }"#]
    let guidance = [#""guidance": { "weight": 1, "threshold": 0.95 }, "#, "", ""]
    let dtype = ["f32", "bf16", "f32"]
    let text = """
      { "name": "\(stages[index])", "resolution": \(8 << index), "weights": "\(stages[index]).safetensors", "network": \(network),
        "schedule": { "kind": "\(schedule)", "steps": 1000 }, "prediction": "v", "variance": "fixed_small",
        "conditioning": \(conditioning[index]), "sampler": \(sampler[index]), \(guidance[index])"dtype": "\(dtype[index])" }
      """
    return (try JSONDecoder().decode(UNetConfiguration.self, from: Data(network.utf8)), text)
  }

  private func write(_ configuration: UNetConfiguration, to path: String, seed: UInt64) throws {
    let network = try UNet(configuration, seed: seed)
    var tensors: [(String, Tensor)] = []
    for (index, (name, tensor)) in network.parameters.enumerated() {
      let noise = try Tensor.randn(shape: tensor.shape, seed: seed &* 1000 &+ UInt64(index)).mul(0.05)
      tensors.append((name, try tensor.detach().add(noise)))
    }
    try Safetensors.write(tensors, to: path)
  }
}
