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
  /// By class, then by name.
  package let items: [Item]

  /// - Parameters:
  ///   - classes: what sub-folders there have to be, or if there are none, what labels Weir's own images in the folder can have; `nil`: those
  ///     sub-folders that there are, by name, or if there are none the folder itself, as one class.
  ///   - limit: of each class, the first so many by name; `nil`: all.
  package init(_ path: String, classes: [String]? = nil, limit: Int? = nil) throws {
    let found = try Self.names(path).filter { name in
      var isDirectory: ObjCBool = false
      return FileManager.default.fileExists(atPath: "\(path)/\(name)", isDirectory: &isDirectory) && isDirectory.boolValue
    }
    let chosen = classes ?? (found.isEmpty ? [""] : found)
    let all: [[Item]]
    if let classes, found.isEmpty, classes != [""] {
      let items = try Self.images(path).map { try Item(labelled: $0, classes: classes) }
      all = classes.indices.map { label in items.filter { $0.label == label } }
    } else {
      all = try chosen.enumerated().map { label, name in
        try Self.images(name.isEmpty ? path : "\(path)/\(name)").map { Item(path: $0, label: label) }
      }
    }
    self.classes = chosen
    items = all.flatMap { $0.prefix(limit ?? .max) }
  }

  package func image(_ item: Item) throws -> RGBImage { try item.image(png: item.bytes()) }

  /// Consecutive items of one class, at most `count` at a time.
  func parts(of count: Int) -> [ArraySlice<Item>] {
    var parts: [ArraySlice<Item>] = []
    var start = 0
    while start < items.count {
      let end = items[start...].prefix(count).prefix { $0.label == items[start].label }.endIndex
      parts.append(items[start..<end])
      start = end
    }
    return parts
  }

  private static func names(_ folder: String) throws -> [String] {
    do { return try FileManager.default.contentsOfDirectory(atPath: folder).filter { !$0.hasPrefix(".") }.sorted() } catch {
      throw EvaluationError("\(folder): it cannot be read as a folder: \(error.localizedDescription)")
    }
  }

  /// Paths of the PNG files in a folder, at least one.
  private static func images(_ folder: String) throws -> [String] {
    let files = try names(folder).filter { $0.lowercased().hasSuffix(".png") && $0 != "contact-sheet.png" }
    guard !files.isEmpty else { throw EvaluationError("\(folder): it has no PNG files") }
    return files.map { "\(folder)/\($0)" }
  }
}

extension ImageFolder.Item {
  /// An image that says itself which class it is of, as those do that Weir generates.
  fileprivate init(labelled path: String, classes: [String]) throws {
    self.init(path: path, label: 0)
    guard let text = try? PNGText.read(bytes()), let name = text.first(where: { $0.key == "weir:label" })?.value else {
      throw EvaluationError("\(path): it does not say which class it is of; put each class's images into a sub-folder of its name")
    }
    guard let label = classes.firstIndex(of: name) else {
      throw EvaluationError("\(path): its class, \(name), is none of the real images', which are \(classes.joined(separator: ", "))")
    }
    self.label = label
  }

  /// The file's.
  func bytes() throws -> [UInt8] {
    do { return [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) } catch {
      throw EvaluationError("\(path): it cannot be read: \(error.localizedDescription)")
    }
  }

  func image(png: [UInt8]) throws -> RGBImage {
    do { return try RGBImage(png: png) } catch { throw EvaluationError("\(path): \(error)") }
  }
}
