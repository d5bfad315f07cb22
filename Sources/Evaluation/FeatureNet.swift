package import Images
package import Tensors

/// Says in numbers what an image looks like.
package protocol FeatureNet {
  var name: String { get }

  /// SHA-256 of its weights' file.
  var digest: [UInt8] { get }

  /// Features (N, D) and class logits (N, C), f32.
  ///
  /// - Parameter images: at least one, of one size.
  func features(of images: [RGBImage]) throws -> (features: Tensor, logits: Tensor)
}

extension FeatureNet {
  /// Of images in a folder, with its sub-folders as classes if it has some, in the order of their names.
  ///
  /// - Parameters:
  ///   - cache: those that were computed before are taken from it, and new ones kept in it, a part of a class at a time.
  ///   - progress: called with how many are done, and of how many.
  package func features(
    of folder: ImageFolder, cache: FeatureCache? = nil, progress: (Int, Int) -> Void = { _, _ in }
  ) throws -> FeatureSet {
    var found: [(features: Tensor, logits: Tensor)] = []
    var done = 0
    for part in folder.parts(of: 128) {
      let files = try part.map { try $0.bytes() }
      let path = cache?.path(net: digest, images: files)
      if let cache, let path, let known = cache.load(path, count: part.count) {
        found.append(known)
      } else {
        let new = try batches(
          of: Array(zip(part, files)), image: { try $0.image(png: $1) }, progress: { progress(done + $0, folder.items.count) })
        if let cache, let path { try cache.store(features: new.features, logits: new.logits, at: path) }
        found.append(new)
      }
      done += part.count
      progress(done, folder.items.count)
    }
    return try FeatureSet(
      features: Tensor.cat(found.map(\.features), dim: 0), logits: Tensor.cat(found.map(\.logits), dim: 0),
      labels: folder.items.map(\.label), paths: folder.items.map(\.path))
  }

  /// Of the images that `image` makes of items, a batch of them at a time.
  package func features<Item>(of items: [Item], image: (Item) throws -> RGBImage) throws -> FeatureSet {
    let found = try batches(of: items, image: image)
    return try FeatureSet(features: found.features, logits: found.logits)
  }

  /// Of at least one item.
  private func batches<Item>(
    of items: [Item], image: (Item) throws -> RGBImage, progress: (Int) -> Void = { _ in }
  ) throws -> (features: Tensor, logits: Tensor) {
    let batch = 16
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
      progress(start + images.count)
    }
    return (try Tensor.cat(features, dim: 0), try Tensor.cat(logits, dim: 0))
  }
}
