/// How near generated images are to those that the model was trained on, beside how near real ones are that it never saw. Of copies the distances
/// are smaller.
package struct Memorisation: Sendable, Codable {
  /// A generated image and the training image nearest to it.
  package struct Pair: Sendable, Codable {
    /// Their files, or where they are not known their numbers in the sets, from 0.
    package var image, trainingImage: String
    /// Between their features.
    package var distance: Double
  }

  /// The hundredth part of the generated images, and of the held-out real ones, is nearer to its nearest training image than this.
  package var generatedFirstPercentile, heldOutFirstPercentile: Double
  /// Generated images that are nearer than that percentile of the held-out ones.
  package var nearerThanHeldOut: Int
  /// The nearest, nearest first.
  package var nearestPairs: [Pair]

  /// - Parameters:
  ///   - heldOut: real images, none of them in `training`.
  ///   - pairs: how many of the nearest are named.
  package init(generated: FeatureSet, heldOut: FeatureSet, training: FeatureSet, pairs: Int = 12) throws {
    let nearest = try nearestNeighbours(of: generated, in: training)
    let limits = try nearestNeighbours(of: heldOut, in: training).map(\.distance).sorted()
    let limit = limits[limits.count / 100]
    let order = nearest.indices.sorted { nearest[$0].distance < nearest[$1].distance }
    func name(_ index: Int, _ set: FeatureSet) -> String { set.paths?[index] ?? "\(index)" }
    generatedFirstPercentile = nearest[order[order.count / 100]].distance
    heldOutFirstPercentile = limit
    nearerThanHeldOut = nearest.count { $0.distance < limit }
    nearestPairs = order.prefix(pairs).map {
      Pair(image: name($0, generated), trainingImage: name(nearest[$0].index, training), distance: nearest[$0].distance)
    }
  }
}
