import Foundation
import Images
import Synchronization

/// The images of a data folder at one resolution, planar RGB in [-1, 1].
package protocol PixelSource: Sendable {
  /// Pixels a side.
  var side: Int { get }
  var count: Int { get }
  func label(_ index: Int) -> Int
  /// (3, side, side) and the label.
  func image(_ index: Int) throws(TrainingError) -> (planes: [Float], label: Int)
}

/// Decodes an image each time it is asked for: for stages whose whole set would not fit in memory.
package final class DecodingSource: PixelSource {
  package let side: Int
  package var count: Int { folder.items.count }
  private let folder: DataFolder
  private let broken = Mutex<Set<Int>>([])
  private let report: @Sendable (String) -> Void

  package init(folder: DataFolder, side: Int, report: @escaping @Sendable (String) -> Void) {
    self.folder = folder
    self.side = side
    self.report = report
  }

  package func label(_ index: Int) -> Int { folder.items[index].label }

  /// A broken image is named once, and the next one of the folder takes its place.
  package func image(_ index: Int) throws(TrainingError) -> (planes: [Float], label: Int) {
    var index = index
    for _ in 0..<min(count, 1000) {
      let item = folder.items[index]
      switch folder.load(item, side: side) {
      case .success(let planes): return (planes.map { $0 / 127.5 - 1 }, item.label)
      case .failure(let error):
        if broken.withLock({ $0.insert(index).inserted }) { report("skipped: \(error.message)") }
      }
      index = (index + 1) % count
    }
    throw TrainingError(.data, "\(folder.root): no readable image among the next 1000; see the messages above")
  }
}

/// All images at one resolution in memory, 8 bits a channel, from a cache file beside the run that is made once.
package final class CachedSource: PixelSource {
  package let side: Int
  package var count: Int { labels.count }
  private let pixels: [UInt8]
  private let labels: [Int]

  private static let magic: [UInt8] = Array("weir-pixels-1\n\0\0".utf8)
  private static let headerBytes = 40

  /// Reads `path` if it was made from this very folder at this size, else makes it.
  package init(folder: DataFolder, side: Int, path: String, report: (String) -> Void) throws(TrainingError) {
    self.side = side
    if let (labels, pixels) = Self.read(path, folder: folder, side: side) {
      (self.labels, self.pixels) = (labels, pixels)
      return
    }
    var labels: [Int] = []
    var pixels: [UInt8] = []
    pixels.reserveCapacity(folder.items.count * 3 * side * side)
    var skipped = 0
    var shown = ContinuousClock.now
    for (index, item) in folder.items.enumerated() {
      switch folder.load(item, side: side) {
      case .success(let planes):
        labels.append(item.label)
        for value in planes { pixels.append(UInt8(min(max(value.rounded(.toNearestOrEven), 0), 255))) }
      case .failure(let error):
        skipped += 1
        if skipped <= 10 { report("skipped: \(error.message)") }
      }
      if ContinuousClock.now - shown > .seconds(5) {
        shown = .now
        report("reading images at \(side)x\(side): \(index + 1) of \(folder.items.count)")
      }
    }
    if skipped > 0 { report("\(skipped) of \(folder.items.count) images skipped") }
    let present = Set(labels)
    let empty = folder.labels.indices.filter { !present.contains($0) }
    guard empty.isEmpty else {
      throw TrainingError(
        .data, "\(folder.root): no usable image of \(empty.map { folder.labels[$0] }.joined(separator: ", ")); see the messages above")
    }
    var file = Self.magic
    Self.append(UInt64(side), to: &file)
    Self.append(UInt64(labels.count), to: &file)
    Self.append(folder.fingerprint, to: &file)
    for label in labels { withUnsafeBytes(of: UInt16(label).littleEndian) { file.append(contentsOf: $0) } }
    file.append(contentsOf: pixels)
    try RunFile.write(file, to: path)
    (self.labels, self.pixels) = (labels, pixels)
  }

  package func label(_ index: Int) -> Int { labels[index] }

  package func image(_ index: Int) throws(TrainingError) -> (planes: [Float], label: Int) {
    let size = 3 * side * side
    return (pixels[index * size..<(index + 1) * size].map { Float($0) / 127.5 - 1 }, labels[index])
  }

  /// Nil when there is no file, or it is of another folder, size or version: it is made again then.
  private static func read(_ path: String, folder: DataFolder, side: Int) -> (labels: [Int], pixels: [UInt8])? {
    guard let data = FileManager.default.contents(atPath: path), data.count >= headerBytes, data.prefix(16) == Data(magic) else {
      return nil
    }
    func number(at offset: Int) -> UInt64 {
      (0..<8).reduce(0) { $0 | UInt64(data[data.startIndex + offset + $1]) << (8 * UInt64($1)) }
    }
    let count = number(at: 24)
    guard number(at: 16) == UInt64(side), number(at: 32) == folder.fingerprint, count > 0, count <= folder.items.count else { return nil }
    let n = Int(count)
    guard data.count == headerBytes + n * (2 + 3 * side * side) else { return nil }
    let body = data.dropFirst(headerBytes)
    let labels = (0..<n).map { Int(body[body.startIndex + 2 * $0]) | Int(body[body.startIndex + 2 * $0 + 1]) << 8 }
    guard labels.allSatisfy({ folder.labels.indices.contains($0) }) else { return nil }
    return (labels, Array(body.dropFirst(2 * n)))
  }

  private static func append(_ number: UInt64, to file: inout [UInt8]) {
    withUnsafeBytes(of: number.littleEndian) { file.append(contentsOf: $0) }
  }
}

extension DataFolder {
  /// One image, its centre square averaged to `side` x `side`: planar RGB, 0...255.
  func load(_ item: Item, side: Int) -> Result<[Float], TrainingError> {
    let path = "\(root)/\(item.path)"
    guard let data = FileManager.default.contents(atPath: path) else {
      return .failure(TrainingError(.data, "\(path): cannot be read"))
    }
    let image: RGBImage
    do {
      image = try RGBImage(png: [UInt8](data))
    } catch {
      return .failure(TrainingError(.data, "\(path): \(error)"))
    }
    guard let planes = Resampling.area(image, side: side) else {
      return .failure(
        TrainingError(.data, "\(path): \(image.width)x\(image.height) pixels; this stage needs at least \(side)x\(side)"))
    }
    return .success(planes)
  }
}
