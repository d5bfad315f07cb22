package import Tensors

/// What a feature net says of a set of images.
///
/// As a file it is safetensors: `features` (N, D), and if known `logits` (N, C) before the softmax and `labels` (N) i64; any float type.
package struct FeatureSet: Sendable {
  /// (N, D) f64, N at least 2.
  package let features: Tensor
  /// (N, C) f64.
  package let logits: Tensor?
  /// The images' classes.
  package let labels: [Int]?
  /// The images' files; `nil` of features that come from a file themselves.
  package let paths: [String]?

  package var count: Int { features.shape[0] }
  package var width: Int { features.shape[1] }

  /// - Throws: `EvaluationError` if the shapes do not fit.
  package init(features: Tensor, logits: Tensor? = nil, labels: [Int]? = nil, paths: [String]? = nil) throws {
    guard features.shape.count == 2, features.shape[0] >= 2, features.shape[1] >= 1 else {
      throw EvaluationError("features have the shape \(features.shape); (images, features) with at least two images is needed")
    }
    guard logits.map({ $0.shape.count == 2 && $0.shape[0] == features.shape[0] }) ?? true,
      labels?.count ?? features.shape[0] == features.shape[0], paths?.count ?? features.shape[0] == features.shape[0]
    else { throw EvaluationError("logits, labels and paths have to be of as many images as the features, \(features.shape[0])") }
    self.features = try features.to(.f64)
    self.logits = try logits?.to(.f64)
    self.labels = labels
    self.paths = paths
  }

  package init(contentsOf path: String) throws {
    let file = try Safetensors.open(path)
    guard file.contains("features") else { throw EvaluationError("\(path): it has no tensor named features (N, D)") }
    do {
      try self.init(
        features: file.tensor(named: "features"), logits: file.contains("logits") ? file.tensor(named: "logits") : nil,
        labels: file.contains("labels") ? file.tensor(named: "labels").integers().map { Int($0) } : nil)
    } catch let error as EvaluationError {
      throw EvaluationError("\(path): \(error.message)")
    }
  }

  package func write(to path: String) throws {
    var tensors = [("features", try features.to(.f32))]
    if let logits { tensors.append(("logits", try logits.to(.f32))) }
    if let labels { tensors.append(("labels", try Tensor(labels.map { Int64($0) }, shape: [labels.count]))) }
    try Safetensors.write(tensors, to: path)
  }

  /// The images of one class; `nil` if there are fewer than two.
  func ofClass(_ label: Int) throws -> FeatureSet? {
    let chosen = (labels ?? []).indices.filter { labels?[$0] == label }
    return chosen.count < 2 ? nil : try choosing(chosen)
  }

  /// The images with these indices, two at least, in this order.
  func choosing(_ chosen: [Int]) throws -> FeatureSet {
    let rows = try Tensor(chosen.map { Int64($0) }, shape: [chosen.count])
    return try FeatureSet(
      features: features.indexSelect(dim: 0, rows), logits: logits?.indexSelect(dim: 0, rows),
      labels: labels.map { all in chosen.map { all[$0] } },
      paths: paths.map { all in chosen.map { all[$0] } })
  }

  /// - Throws: `EvaluationError` if they are of different nets.
  func check(against other: FeatureSet) throws {
    guard width == other.width else {
      throw EvaluationError("the one has \(width) features an image, the other \(other.width): they are of different nets")
    }
  }
}
