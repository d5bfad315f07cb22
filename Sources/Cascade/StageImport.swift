import Diffusion
import Foundation
package import Tensors
import UNet

/// A stage that another program trained, on its way into a pipeline's folder.
package struct StageImport {
  private let name: String
  private let flags: GuidedDiffusionFlags
  private let checkpoint: TorchCheckpoint

  /// Looks whether the checkpoint has exactly the tensors of the network that guided-diffusion's flags describe.
  ///
  /// - Parameters:
  ///   - name: what the stage is to be called.
  ///   - flags: as on the command line of that program's sampling scripts.
  package init(name: String, guidedDiffusion flags: String, checkpoint: TorchCheckpoint) throws(CascadeError) {
    self.name = name
    self.checkpoint = checkpoint
    do {
      let hasLabels = checkpoint.names.contains("label_emb.weight")
      let flags = try GuidedDiffusionFlags(flags, classes: hasLabels ? checkpoint.shape(of: "label_emb.weight").first : nil)
      try flags.network.check(checkpoint.names) { try checkpoint.shape(of: $0) }
      self.flags = flags
    } catch let error as CascadeError {
      throw error
    } catch {
      throw CascadeError(.weights, "\(error)")
    }
  }

  /// Writes the weights beside the manifest, and puts the stage into it: in place of the one of the same name, or behind the others. A folder
  /// without a manifest gets one.
  ///
  /// - Parameter labels: in the order of the network's table; `nil`: those of the manifest that is there, or class-0, class-1, …
  package func write(to folder: String, labels: [String]? = nil) throws(CascadeError) {
    let path = "\(folder)/\(Manifest.fileName)"
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      var manifest = FileManager.default.fileExists(atPath: path) ? try Self.manifest(at: path) : [:]
      if manifest.isEmpty { manifest["name"] = URL(fileURLWithPath: folder).standardizedFileURL.lastPathComponent }
      if let labels { manifest["labels"] = labels }
      if manifest["labels"] == nil { manifest["labels"] = (0..<(flags.network.numClasses ?? 1)).map { "class-\($0)" } }
      var stages = manifest["stages"] as? [[String: Any]] ?? []
      let place = stages.firstIndex { $0["name"] as? String == name } ?? stages.count
      stages.replaceSubrange(place..<min(place + 1, stages.count), with: [try stage()])
      manifest["stages"] = stages
      let text = try JSONSerialization.data(withJSONObject: manifest, options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes])
      _ = try Manifest.decode(text, path)
      let weights = try flags.network.tensorShapes().map { ($0.name, try checkpoint.tensor(named: $0.name)) }
      try Safetensors.write(weights, metadata: ["format": "pt"], to: "\(folder)/\(weightsFile)")
      try text.write(to: URL(fileURLWithPath: path), options: .atomic)
    } catch let error as CascadeError {
      throw error
    } catch {
      throw CascadeError(.weights, "\(error)")
    }
  }

  private var weightsFile: String { "\(name).safetensors" }

  private static func manifest(at path: String) throws -> [String: Any] {
    let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    _ = try Manifest.decode(bytes, path)
    return try JSONSerialization.jsonObject(with: bytes) as? [String: Any] ?? [:]
  }

  /// The stage's entry in a manifest.
  private func stage() throws -> [String: Any] {
    let network = try JSONSerialization.jsonObject(with: JSONEncoder().encode(flags.network))
    return [
      "name": name, "resolution": flags.network.imageSize, "weights": weightsFile, "network": network,
      "schedule": ["kind": flags.schedule.kind.rawValue, "steps": flags.schedule.steps],
      "prediction": flags.prediction.rawValue, "variance": flags.variance.rawValue,
      "conditioning": flags.network.superResolution ? ["upsampling": "bilinear", "augmentation": NSNull()] : NSNull(),
      "sampler": ["kind": flags.sampler.kind.rawValue, "steps": flags.sampler.steps], "dtype": DType.f32.rawValue,
    ]
  }
}
