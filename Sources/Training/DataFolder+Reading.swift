import Foundation
import Images

extension DataFolder {
  /// An image at a stage's size.
  package struct Picture {
    /// (3, side, side), planar RGB, 0...255.
    package let planes: [Float]
    /// Whether the file has fewer pixels than that.
    let isEnlarged: Bool
  }

  /// One image, its centre square brought to `side` x `side`.
  package func picture(_ item: Item, side: Int) throws(TrainingError) -> Picture {
    let path = "\(root)/\(item.path)"
    guard let data = FileManager.default.contents(atPath: path) else { throw TrainingError(.data, "\(path): cannot be read") }
    guard !data.isEmpty else { throw TrainingError(.data, "\(path): is empty") }
    do {
      let image = try RGBImage(png: [UInt8](data))
      return Picture(planes: Resampling.square(image, side: side), isEnlarged: min(image.width, image.height) < side)
    } catch {
      throw TrainingError(.data, "\(path): \(error)")
    }
  }

  /// Reads every image, in order. Broken ones are named and counted in `report`, the others given to `take` with their places in `items`.
  ///
  /// - Throws: when a class has no readable image.
  func readAll(side: Int, report: (String) -> Void, take: (Int, Picture) -> Void) throws(TrainingError) {
    var skipped = 0
    var enlarged = 0
    var present: Set<Int> = []
    var shown = ContinuousClock.now
    for (index, item) in items.enumerated() {
      do throws(TrainingError) {
        let picture = try picture(item, side: side)
        take(index, picture)
        present.insert(item.label)
        if picture.isEnlarged { enlarged += 1 }
      } catch {
        skipped += 1
        report("skipped: \(error.message)")
      }
      if ContinuousClock.now - shown > .seconds(5) {
        shown = .now
        report("reading images at \(side)x\(side): \(index + 1) of \(items.count)")
      }
    }
    if skipped > 0 { report("\(skipped) of \(items.count) images skipped") }
    if enlarged > 0 {
      report(
        "\(enlarged) of \(items.count) images are smaller than \(side)x\(side) and were enlarged: what they lack the stage cannot learn")
    }
    let empty = labels.indices.filter { !present.contains($0) }
    guard empty.isEmpty else {
      throw TrainingError(
        .data, "\(root): no readable image of \(empty.map { labels[$0] }.joined(separator: ", ")); see the messages above")
    }
  }
}
