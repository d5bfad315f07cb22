import Foundation

/// A manifest for classes of one's own, with the networks of a pipeline that there is.
package enum NewPipeline {
  /// Writes `cascade.json` into a folder, which is made if it is not there: the stages of `template`, to be trained on `labels`. The pipeline is
  /// called as the folder is. Smoothing stays behind: it suits the template's data, and others may have grain that is real.
  ///
  /// - Parameters:
  ///   - template: the folder of a pipeline; its weights need not be there.
  ///   - labels: in the order of their numbers.
  /// - Throws: if the folder holds a manifest already, or a label or the folder's name is none that a pipeline can have.
  package static func write(to folder: String, like template: String, labels: [String]) throws(CascadeError) -> Manifest {
    let path = "\(folder)/\(Manifest.fileName)"
    guard !FileManager.default.fileExists(atPath: path) else {
      throw CascadeError(.options, "\(path) is there already: give the folder of a new pipeline, or go on with that one")
    }
    let (_, bytes) = try Manifest.read(template)
    do {
      guard var manifest = try JSONSerialization.jsonObject(with: bytes) as? [String: Any],
        var stages = manifest["stages"] as? [[String: Any]]
      else { throw CascadeError(.manifest, "\(template)/\(Manifest.fileName): no object with stages") }
      for index in stages.indices {
        stages[index]["smoothing"] = nil
        guard var network = stages[index]["network"] as? [String: Any], network["num_classes"] is Int else { continue }
        network["num_classes"] = labels.count
        stages[index]["network"] = network
      }
      manifest["name"] = URL(fileURLWithPath: folder).standardizedFileURL.lastPathComponent
      manifest["labels"] = labels
      manifest["stages"] = stages
      let text = try JSONSerialization.data(withJSONObject: manifest, options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes])
      let written = try Manifest.decode(text, path)
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try text.write(to: URL(fileURLWithPath: path), options: .atomic)
      return written
    } catch let error as CascadeError {
      throw error
    } catch {
      throw CascadeError(.unreadable, "\(path): cannot be written: \(error.localizedDescription)")
    }
  }
}
