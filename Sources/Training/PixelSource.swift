import Foundation

/// The images of a data folder at one resolution, planar RGB in [-1, 1].
package protocol PixelSource: Sendable {
  /// Pixels a side.
  var side: Int { get }
  var count: Int { get }
  func label(_ index: Int) -> Int
  /// Of the file, relative to the data folder.
  func path(_ index: Int) -> String
  /// (3, side, side) and the label.
  func image(_ index: Int) throws(TrainingError) -> (planes: [Float], label: Int)
}

/// Decodes an image each time it is asked for: for stages whose whole set would not fit in memory.
package final class DecodingSource: PixelSource {
  package let side: Int
  package var count: Int { items.count }
  private let folder: DataFolder
  private let items: [DataFolder.Item]

  /// What was found, kept for the run's next session.
  private struct Findings: Codable {
    var fingerprint: UInt64
    /// Places in the folder's list.
    var unreadable: [Int]
  }

  /// Reads every image once to know the broken ones, unless `path` holds what was found in this very folder.
  package init(folder: DataFolder, side: Int, path: String, report: (String) -> Void) throws(TrainingError) {
    self.folder = folder
    self.side = side
    let unreadable: Set<Int>
    if let data = FileManager.default.contents(atPath: path), let found = try? JSONDecoder().decode(Findings.self, from: data),
      found.fingerprint == folder.fingerprint
    {
      unreadable = Set(found.unreadable)
      for index in found.unreadable where folder.items.indices.contains(index) { report("skipped, as before: \(folder.items[index].path)") }
    } else {
      var broken = Set(folder.items.indices)
      try folder.readAll(side: side, report: report) { index, _ in broken.remove(index) }
      let findings = Findings(fingerprint: folder.fingerprint, unreadable: broken.sorted())
      guard let file = try? JSONEncoder().encode(findings) else { throw TrainingError(.file, "\(path): cannot be encoded") }
      try RunFile.write([UInt8](file), to: path)
      unreadable = broken
    }
    items = folder.items.indices.filter { !unreadable.contains($0) }.map { folder.items[$0] }
  }

  package func label(_ index: Int) -> Int { items[index].label }

  package func path(_ index: Int) -> String { items[index].path }

  package func image(_ index: Int) throws(TrainingError) -> (planes: [Float], label: Int) {
    do {
      return (try folder.picture(items[index], side: side).planes.map { $0 / 127.5 - 1 }, items[index].label)
    } catch {
      throw TrainingError(.data, "\(error.message); it could be read when the run began: put it back, or go on without it with --resume")
    }
  }
}

/// All images at one resolution in memory, 8 bits a channel, from a cache file beside the run that is made once.
package final class CachedSource: PixelSource {
  package let side: Int
  package var count: Int { items.count }
  private let pixels: [UInt8]
  private let items: [DataFolder.Item]

  private static let magic: [UInt8] = Array("weir-pixels-2\n\0\0".utf8)
  private static let headerBytes = 40

  /// Reads `path` if it was made from this very folder at this size, else makes it.
  package init(folder: DataFolder, side: Int, path: String, report: (String) -> Void) throws(TrainingError) {
    self.side = side
    if let (places, pixels) = Self.read(path, folder: folder, side: side) {
      (self.items, self.pixels) = (places.map { folder.items[$0] }, pixels)
      return
    }
    // In the folder's list, of the images that could be read.
    var places: [Int] = []
    var pixels: [UInt8] = []
    pixels.reserveCapacity(folder.items.count * 3 * side * side)
    try folder.readAll(side: side, report: report) { index, picture in
      places.append(index)
      for value in picture.planes { pixels.append(UInt8(min(max(value.rounded(.toNearestOrEven), 0), 255))) }
    }
    var file = Self.magic
    Self.append(UInt64(side), to: &file)
    Self.append(UInt64(places.count), to: &file)
    Self.append(folder.fingerprint, to: &file)
    for place in places { withUnsafeBytes(of: UInt32(place).littleEndian) { file.append(contentsOf: $0) } }
    file.append(contentsOf: pixels)
    try RunFile.write(file, to: path)
    (self.items, self.pixels) = (places.map { folder.items[$0] }, pixels)
  }

  package func label(_ index: Int) -> Int { items[index].label }

  package func path(_ index: Int) -> String { items[index].path }

  package func image(_ index: Int) throws(TrainingError) -> (planes: [Float], label: Int) {
    let size = 3 * side * side
    return (pixels[index * size..<(index + 1) * size].map { Float($0) / 127.5 - 1 }, items[index].label)
  }

  /// Nil when there is no file, or it is of another folder, size or version: it is made again then.
  private static func read(_ path: String, folder: DataFolder, side: Int) -> (places: [Int], pixels: [UInt8])? {
    guard let data = FileManager.default.contents(atPath: path), data.count >= headerBytes, data.prefix(16) == Data(magic) else {
      return nil
    }
    func number(at offset: Int) -> UInt64 {
      (0..<8).reduce(0) { $0 | UInt64(data[data.startIndex + offset + $1]) << (8 * UInt64($1)) }
    }
    let count = number(at: 24)
    guard number(at: 16) == UInt64(side), number(at: 32) == folder.fingerprint, count > 0, count <= folder.items.count else { return nil }
    let n = Int(count)
    guard data.count == headerBytes + n * (4 + 3 * side * side) else { return nil }
    let places = (0..<n).map { place in
      (0..<4).reduce(0) { $0 | Int(data[data.startIndex + headerBytes + 4 * place + $1]) << (8 * $1) }
    }
    guard places.allSatisfy({ folder.items.indices.contains($0) }) else { return nil }
    return (places, Array(data.dropFirst(headerBytes + 4 * n)))
  }

  private static func append(_ number: UInt64, to file: inout [UInt8]) {
    withUnsafeBytes(of: number.littleEndian) { file.append(contentsOf: $0) }
  }
}
