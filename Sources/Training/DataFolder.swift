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
        .data, "\(root): no folder for the class \(missing.joined(separator: ", ")); each label of the pipeline needs one")
    }
    var items: [Item] = []
    var hash = FNV1a()
    for (index, label) in labels.enumerated() {
      let folder = "\(root)/\(label)"
      let names: [String]
      do {
        names = try FileManager.default.contentsOfDirectory(atPath: folder)
      } catch {
        throw TrainingError(.data, "\(folder): cannot be listed: \(error.localizedDescription)")
      }
      let images = names.filter { !$0.hasPrefix(".") && $0.lowercased().hasSuffix(".png") }.sorted()
      guard !images.isEmpty else {
        throw TrainingError(.data, "\(folder): no PNG files for the class \(label)")
      }
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
    fingerprint = hash.value
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
