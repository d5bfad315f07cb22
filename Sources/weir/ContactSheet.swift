import Images

/// The images of a job, small jobs' whole, in the order of their numbers.
package struct ContactSheet {
  private var images: [UInt32: (label: UInt32, pixels: RGBImage)] = [:]

  /// A sheet shows no more than these: the first that were finished.
  static let limit = 256

  mutating func add(_ pixels: RGBImage, sample: UInt32, label: UInt32) {
    guard images.count < Self.limit else { return }
    images[sample] = (label, pixels)
  }

  /// In order; `nil` if there are none.
  var content: (images: [RGBImage], columns: Int)? {
    guard !images.isEmpty else { return nil }
    let ordered = images.sorted { $0.key < $1.key }.map(\.value)
    return (ordered.map(\.pixels), Self.columns(labels: ordered.map(\.label)))
  }

  /// A row for each label if every label has equally many samples, at most 16; else about as many columns as rows.
  package static func columns(labels: [UInt32]) -> Int {
    var groups: [Int] = []
    for (index, label) in labels.enumerated() {
      if index > 0, labels[index - 1] == label { groups[groups.count - 1] += 1 } else { groups.append(1) }
    }
    if let size = groups.first, (2...16).contains(size), groups.allSatisfy({ $0 == size }), groups.count > 1 { return size }
    return (1...).first { $0 * $0 >= labels.count } ?? 1
  }
}
