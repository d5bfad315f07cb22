import Tensors

/// Euclidean distances between the images of two sets, a block of rows at a time, so that memory does not grow with the square of the sets.
struct Distances {
  private static let blockElements = 4 << 20

  private let a: Tensor
  private let transposed: Tensor
  private let squaresA: Tensor
  private let squaresB: Tensor

  init(_ a: FeatureSet, _ b: FeatureSet) throws {
    try a.check(against: b)
    self.a = a.features
    transposed = try b.features.transpose(0, 1)
    squaresA = try a.features.square().sum(dims: [1], keepDims: true)
    squaresB = try b.features.square().sum(dims: [1]).unsqueeze(dim: 0)
  }

  /// Calls `body` with each image of the first set, by index, and its distances to all of the second.
  func forEachRow(_ body: (Int, UnsafeBufferPointer<Double>) throws -> Void) throws {
    let (rows, columns) = (a.shape[0], transposed.shape[1])
    let block = max(1, Self.blockElements / columns)
    for start in stride(from: 0, to: rows, by: block) {
      let count = min(block, rows - start)
      let products = try a.narrow(dim: 0, start: start, length: count).matmul(transposed)
      // Rounding may leave less than nothing between an image and itself.
      let distances = try squaresA.narrow(dim: 0, start: start, length: count).add(squaresB).sub(products.mul(2))
        .clamp(min: 0, max: .infinity).sqrt().doubles()
      try distances.withUnsafeBufferPointer { all in
        for row in 0..<count { try body(start + row, UnsafeBufferPointer(rebasing: all[row * columns..<(row + 1) * columns])) }
      }
    }
  }

  /// Of each image of a set, the distance to its k-th neighbour in the set, itself not counted.
  static func radii(_ set: FeatureSet, k: Int) throws -> [Double] {
    var radii = [Double](repeating: 0, count: set.count)
    try Distances(set, set).forEachRow { index, distances in
      var others = Array(distances)
      others[index] = -1
      others.sort()
      radii[index] = others[k]
    }
    return radii
  }
}

/// How much of the real images' manifold the generated ones cover, and the other way round. A set's manifold is made of balls around its images,
/// each as large as the distance to the image's k-th neighbour.
package struct ManifoldMetrics: Hashable, Sendable {
  /// The part of the generated images in the real ones' manifold, and of the real in the generated ones' (Kynkäänniemi et al. 2019).
  package var precision, recall: Double
  /// How many real images' balls a generated one is in, by k; and the part of the real images whose ball has a generated one in it
  /// (Naeem et al. 2020).
  package var density, coverage: Double

  /// - Parameter k: neighbours, 1 or more.
  package init(real: FeatureSet, generated: FeatureSet, k: Int = 3) throws {
    guard k >= 1, k < min(real.count, generated.count) else {
      throw EvaluationError("k = \(k) neighbours: it has to be from 1 to one less than there are images in the smaller set")
    }
    let realRadii = try Distances.radii(real, k: k)
    let generatedRadii = try Distances.radii(generated, k: k)
    var balls = [Int](repeating: 0, count: generated.count)
    var (recalled, covered) = (0, 0)
    try Distances(real, generated).forEachRow { index, distances in
      var isRecalled = false
      var nearest = Double.infinity
      for (other, distance) in distances.enumerated() {
        if distance < realRadii[index] { balls[other] += 1 }
        if distance < generatedRadii[other] { isRecalled = true }
        nearest = min(nearest, distance)
      }
      if isRecalled { recalled += 1 }
      if nearest < realRadii[index] { covered += 1 }
    }
    precision = Double(balls.count { $0 > 0 }) / Double(generated.count)
    recall = Double(recalled) / Double(real.count)
    density = Double(balls.reduce(0, +)) / Double(k * generated.count)
    coverage = Double(covered) / Double(real.count)
  }
}

/// Of each image of a set, the label that most of its k nearest neighbours in another set have; of equally many the nearest counts.
package func neighbourLabels(of set: FeatureSet, in reference: FeatureSet, k: Int = 5) throws -> [Int] {
  guard let known = reference.labels else { throw EvaluationError("the images' classes are not known") }
  guard k >= 1, k <= reference.count else { throw EvaluationError("k = \(k) neighbours of \(reference.count) images") }
  var labels: [Int] = []
  try Distances(set, reference).forEachRow { _, distances in
    let nearest = distances.indices.sorted { distances[$0] < distances[$1] }.prefix(k).map { known[$0] }
    let votes = Dictionary(nearest.map { ($0, 1) }, uniquingKeysWith: +)
    let most = votes.values.max() ?? 0
    if let label = nearest.first(where: { votes[$0] == most }) { labels.append(label) }
  }
  return labels
}

/// Of each image of a set, the nearest of another, by index.
func nearestNeighbours(of set: FeatureSet, in reference: FeatureSet) throws -> [(index: Int, distance: Double)] {
  var nearest: [(index: Int, distance: Double)] = []
  try Distances(set, reference).forEachRow { _, distances in
    var best = (index: 0, distance: distances[0])
    for (index, distance) in distances.enumerated() where distance < best.distance { best = (index, distance) }
    nearest.append(best)
  }
  return nearest
}
