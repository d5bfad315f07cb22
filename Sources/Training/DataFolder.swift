import Foundation

/// A labelled set of images: `<root>/<class>/*.png`, one folder a class, in the order of the pipeline's labels.
package struct DataFolder: Sendable {
  package struct Item: Hashable, Sendable {
    /// Relative to the root.
    package let path: String
    package let label: Int
  }

  package let root: String
  package let labels: [String]
  /// By label, then by file name.
  package let items: [Item]
  /// What is not read: files that are no PNG by their names, and folders that are no class. Relative to the root; hidden files aside.
  package let leftOut: [String]
  /// Changes when a file is added, removed, renamed, resized or rewritten: the key of caches made from this folder.
  package let fingerprint: UInt64

  package init(root: String, labels: [String]) throws(TrainingError) {
    self.root = root
    self.labels = labels
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: root, isDirectory: &isDirectory), isDirectory.boolValue else {
      throw TrainingError(.data, "\(root): no such folder; --data takes a folder with one sub-folder of PNG files a class")
    }
    let missing = labels.filter { label in
      var isDirectory: ObjCBool = false
      return !FileManager.default.fileExists(atPath: "\(root)/\(label)", isDirectory: &isDirectory) || !isDirectory.boolValue
    }
    guard missing.isEmpty else {
      throw TrainingError(
        .data,
        "\(root): no folder for the class \(missing.joined(separator: ", ")); each label of the pipeline needs one "
          + "(weir-lab new begins a pipeline for the classes of a folder)")
    }
    var items: [Item] = []
    var hash = FNV1a()
    var leftOut = try Self.names(in: root).filter { !labels.contains($0) }
    for (index, label) in labels.enumerated() {
      let folder = "\(root)/\(label)"
      let names = try Self.names(in: folder)
      let images = names.filter { $0.lowercased().hasSuffix(".png") }
      let others = names.filter { !$0.lowercased().hasSuffix(".png") }
      guard !images.isEmpty else {
        throw TrainingError(
          .data, "\(folder): no PNG files for the class \(label)" + (others.isEmpty ? "" : "; \(Self.unread(others, in: folder))"))
      }
      leftOut += others.map { "\(label)/\($0)" }
      for name in images {
        let item = Item(path: "\(label)/\(name)", label: index)
        items.append(item)
        hash.combine(item.path.utf8)
        var status = stat()
        if stat("\(root)/\(item.path)", &status) == 0 {
          hash.combine(UInt64(bitPattern: Int64(status.st_size)))
          hash.combine(UInt64(bitPattern: Int64(status.st_mtim.tv_sec)))
          hash.combine(UInt64(bitPattern: Int64(status.st_mtim.tv_nsec)))
        }
      }
    }
    self.items = items
    self.leftOut = leftOut
    fingerprint = hash.value
  }

  /// The names of a folder's sub-folders, sorted: the classes that it is a set of.
  package static func classes(in root: String) throws(TrainingError) -> [String] {
    let names = try names(in: root)
    let classes = names.filter { name in
      var isDirectory: ObjCBool = false
      return FileManager.default.fileExists(atPath: "\(root)/\(name)", isDirectory: &isDirectory) && isDirectory.boolValue
    }
    guard !classes.isEmpty else {
      throw TrainingError(.data, "\(root): no sub-folders; put the images into one for each class, even if there is only one class")
    }
    return classes
  }

  /// One line on what is not read, if there is such.
  package var leftOutNote: String? { leftOut.isEmpty ? nil : "\(root): \(Self.unread(leftOut, in: root))" }

  private static func unread(_ names: [String], in folder: String) -> String {
    "not read: \(names.prefix(5).joined(separator: ", "))\(names.count > 5 ? " and \(names.count - 5) more" : "")"
      + " (PNG files in the classes' folders are; for JPEG and the like: mogrify -auto-orient -format png FILE…, of ImageMagick)"
  }

  /// Sorted, without hidden ones.
  private static func names(in folder: String) throws(TrainingError) -> [String] {
    do {
      return try FileManager.default.contentsOfDirectory(atPath: folder).filter { !$0.hasPrefix(".") }.sorted()
    } catch {
      throw TrainingError(.data, "\(folder): cannot be listed: \(error.localizedDescription)")
    }
  }
}

/// FNV-1a, 64 bits: tells listings apart; no protection against a forger is needed.
struct FNV1a {
  private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

  mutating func combine(_ bytes: some Sequence<UInt8>) {
    for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    value = (value ^ 0xff) &* 0x100_0000_01b3
  }

  mutating func combine(_ number: UInt64) {
    withUnsafeBytes(of: number.littleEndian) { combine($0) }
  }
}
