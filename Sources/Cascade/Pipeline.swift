import Digests
import Foundation

/// A pipeline's folder: the manifest and one weights file a stage.
package struct Pipeline: Hashable, Sendable {
  package let directory: String
  package let manifest: Manifest
  /// SHA-256 over the manifest's bytes and each stage's weights file, in order, as `cat` would join them.
  package let digest: [UInt8]

  /// Reads the manifest and hashes every file; the networks are loaded by `StageEngine`.
  package static func load(_ directory: String) throws(CascadeError) -> Pipeline {
    let (manifest, bytes) = try Manifest.read(directory)
    let hasher = SHA256Hasher()
    bytes.withUnsafeBytes { hasher.update($0) }
    var previous: Set<String> = []
    for stage in manifest.stages {
      guard previous.insert(stage.weights).inserted else {
        throw CascadeError(.manifest, "\(directory)/\(Manifest.fileName): two stages share the weights file \(stage.weights)")
      }
      try hash(directory + "/" + stage.weights, of: stage.name, into: hasher)
    }
    return Pipeline(directory: directory, manifest: manifest, digest: hasher.finalize())
  }

  package func weightsPath(stage index: Int) -> String { directory + "/" + manifest.stages[index].weights }

  private static func hash(_ path: String, of stage: String, into hasher: borrowing SHA256Hasher) throws(CascadeError) {
    do {
      let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
      defer { try? handle.close() }
      while let piece = try handle.read(upToCount: 1 << 20), !piece.isEmpty { piece.withUnsafeBytes { hasher.update($0) } }
    } catch {
      throw CascadeError(
        .unreadable,
        "\(path): the weights of stage \(stage) cannot be read (\(error.localizedDescription)); train the stage, or copy its file here")
    }
  }
}
