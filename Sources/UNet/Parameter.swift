/// One tensor of the network before it exists: its name in guided-diffusion's state dict, its shape, what it does and how it starts.
struct Parameter: Hashable, Sendable {
  enum Role: Hashable, Sendable {
    /// `side`: of the feature maps it meets, in pixels, when x has the configuration's image size.
    case convolutionWeight(stride: Int, padding: Int, side: Int)
    case convolutionBias
    /// A GroupNorm's weight or bias.
    case norm
    /// A linear layer's part in the embedding of t, label and s.
    case embedding
    /// The rows of that embedding's labels.
    case table
    /// A residual block's projection of that embedding.
    case modulation
  }

  /// PyTorch's defaults, and guided-diffusion's zeroed layers.
  enum Start: Hashable, Sendable {
    case zeros
    case ones
    /// N(0, 1).
    case normal
    /// U(-bound, bound). PyTorch's Kaiming-uniform with a = √5 is bound = 1/√fan_in, for weights and biases.
    case uniform(bound: Double)
  }

  let name: String
  let shape: [Int]
  let role: Role
  let start: Start

  var count: Int { shape.reduce(1, *) }
}
