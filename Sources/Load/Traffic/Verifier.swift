package import Wire
import Worker

/// One image, as its job asked for it.
package struct ReferenceSample: Hashable, Sendable {
  package var label: UInt32
  package var seed: UInt64
  /// As the broker resolved them.
  package var options: [StageOptions]
  package var truncated: Bool

  package init(label: UInt32, seed: UInt64, options: [StageOptions], truncated: Bool = false) {
    self.label = label
    self.seed = seed
    self.options = options
    self.truncated = truncated
  }
}

/// What the stages of an image have to come to.
package struct Reference: Hashable, Sendable {
  /// SHA-256 of each stage's output, in order.
  package var digests: [[UInt8]]
  /// The numerics class in which that is so; `nil`: in any.
  package var numerics: String?

  package init(digests: [[UInt8]], numerics: String? = nil) {
    self.digests = digests
    self.numerics = numerics
  }
}

/// Knows what every image has to be.
package protocol Verifier: Sendable {
  /// In the order of the samples.
  func references(of samples: [ReferenceSample]) async throws -> [Reference]
}

/// Of fleets with the synthetic engine.
package struct SyntheticVerifier: Verifier {
  package init() {}

  package func references(of samples: [ReferenceSample]) throws -> [Reference] {
    try samples.map { sample in
      let outputs = try SyntheticEngine.references(
        label: sample.label, seed: sample.seed, options: sample.options, truncated: sample.truncated,
        stages: SyntheticEngine.pipeline.stages.count)
      return Reference(digests: outputs.map(\.digest))
    }
  }
}
