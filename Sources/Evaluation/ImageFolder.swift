import Foundation
package import Images

/// PNG files of a folder, or of its sub-folders, one a class.
package struct ImageFolder: Sendable {
  package struct Item: Hashable, Sendable {
    package var path: String
    /// Index of its class.
    package var label: Int
  }

  package let classes: [String]
  package let items: [Item]

  /// - Parameters:
  ///   - classes: what sub-folders there have to be; `nil`: those that there are, by name, or if there are none the folder itself, as one class.
  ///   - limit: of each class, the first so many by name; `nil`: all.
  package init(_ path: String, classes: [String]? = nil, limit: Int? = nil) throws {
    func names(_ folder: String) throws -> [String] {
      do { return try FileManager.default.contentsOfDirectory(atPath: folder).filter { !$0.hasPrefix(".") }.sorted() } catch {
        throw EvaluationError("\(folder): it cannot be read as a folder: \(error.localizedDescription)")
      }
    }
    let found = try names(path).filter { name in
      var isDirectory: ObjCBool = false
      return FileManager.default.fileExists(atPath: "\(path)/\(name)", isDirectory: &isDirectory) && isDirectory.boolValue
    }
    let chosen = classes ?? (found.isEmpty ? [""] : found)
    var items: [Item] = []
    for (label, name) in chosen.enumerated() {
      let folder = name.isEmpty ? path : "\(path)/\(name)"
      let files = try names(folder).filter { $0.lowercased().hasSuffix(".png") && $0 != "contact-sheet.png" }
      guard !files.isEmpty else { throw EvaluationError("\(folder): it has no PNG files") }
      items += files.prefix(limit ?? .max).map { Item(path: "\(folder)/\($0)", label: label) }
    }
    self.classes = chosen
    self.items = items
  }

  package func image(_ item: Item) throws -> RGBImage {
    do {
      return try RGBImage(png: [UInt8](Data(contentsOf: URL(fileURLWithPath: item.path))))
    } catch {
      throw EvaluationError("\(item.path): \(error)")
    }
  }
}
