package import Images
package import Tensors

/// Says in numbers what an image looks like.
package protocol FeatureNet {
  var name: String { get }

  /// Features (N, D) and class logits (N, C), f32.
  ///
  /// - Parameter images: at least one, of one size.
  func features(of images: [RGBImage]) throws -> (features: Tensor, logits: Tensor)
}

extension FeatureNet {
  /// Of images in a folder, with its sub-folders as classes if it has some, in the order of their names.
  ///
  /// - Parameters:
  ///   - limit: of each folder, the first so many.
  ///   - progress: called with how many are done, and of how many.
  package func features(of folder: ImageFolder, batch: Int = 16, progress: (Int, Int) -> Void = { _, _ in }) throws -> FeatureSet {
    try features(of: folder.items, labels: folder.items.map(\.label), batch: batch, progress: progress) { try folder.image($0) }
  }

  /// Of the images that `image` makes of items, a batch of them at a time.
  package func features<Item>(
    of items: [Item], labels: [Int]? = nil, batch: Int = 16, progress: (Int, Int) -> Void = { _, _ in }, image: (Item) throws -> RGBImage
  ) throws -> FeatureSet {
    var features: [Tensor] = []
    var logits: [Tensor] = []
    for start in stride(from: 0, to: items.count, by: batch) {
      let images = try items[start..<min(start + batch, items.count)].map(image)
      // Images of several sizes go one by one.
      let isUniform = Set(images.map { [$0.width, $0.height] }).count == 1
      for part in isUniform ? [images] : images.map({ [$0] }) {
        let found = try self.features(of: part)
        features.append(found.features)
        logits.append(found.logits)
      }
      progress(start + images.count, items.count)
    }
    return try FeatureSet(features: Tensor.cat(features, dim: 0), logits: Tensor.cat(logits, dim: 0), labels: labels)
  }
}
