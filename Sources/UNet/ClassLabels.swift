package import Tensors

/// Class labels as the networks take them.
///
/// The null class is that of classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598): to a sample's embedding no label's row is added at all,
/// so that it needs no tensor of its own and any network that knows labels can be trained on it.
package enum ClassLabels {
  /// What stands for the null class.
  package static let null: Int64 = -1

  /// (N) i64; `nil` is the null class.
  package static func tensor(_ labels: [Int?], device: Device = .cpu) throws(TorchError) -> Tensor {
    try Tensor(labels.map { $0.map(Int64.init) ?? null }, shape: [labels.count], device: device)
  }
}
