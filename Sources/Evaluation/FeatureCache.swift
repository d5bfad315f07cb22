import Digests
import Foundation
import Tensors

/// Features that outlive the command that computed them, so that it goes on where it was interrupted, and the next one is quick.
///
/// A file holds those of some images; its name is a digest of the net and of these images' bytes. So what is found is never out of date, and
/// the folder may be deleted at any time.
package struct FeatureCache: Sendable {
  /// Raised when features of old would differ from those that are computed now.
  private static let format = "features 1"

  package let folder: String

  package init(folder: String) { self.folder = folder }

  /// - Parameters:
  ///   - net: the net's `digest`.
  ///   - images: the bytes of the images' files.
  func path(net: [UInt8], images: [[UInt8]]) -> String {
    let hasher = SHA256Hasher()
    hasher.update(Self.format.utf8)
    hasher.update(net)
    for image in images { hasher.update(sha256(image)) }
    return "\(folder)/\(hex(hasher.finalize())).safetensors"
  }

  /// Features and logits of `count` images; `nil` if they are not there, or the file is not whole.
  func load(_ path: String, count: Int) -> (features: Tensor, logits: Tensor)? {
    guard let file = try? Safetensors.open(path), let features = try? file.tensor(named: "features"),
      let logits = try? file.tensor(named: "logits"), features.shape.first == count, logits.shape.first == count
    else { return nil }
    return (features, logits)
  }

  /// - Throws: `EvaluationError` if the folder takes no files.
  func store(features: Tensor, logits: Tensor, at path: String) throws {
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try Safetensors.write([("features", features), ("logits", logits)], to: path)
    } catch {
      throw EvaluationError("\(folder): features cannot be kept here (\(error)); give another folder with --cache")
    }
  }
}
