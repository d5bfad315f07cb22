package import Wire
import Worker

/// Knows what every image has to be.
package protocol Verifier: Sendable {
  /// - Parameter options: of the job, as the broker resolved them.
  func expectedDigest(label: UInt32, seed: UInt64, options: [StageOptions]) async throws -> [UInt8]
}

/// Of fleets with the synthetic engine.
package struct SyntheticVerifier: Verifier {
  package init() {}

  package func expectedDigest(label: UInt32, seed: UInt64, options: [StageOptions]) throws -> [UInt8] {
    try SyntheticEngine.reference(label: label, seed: seed, options: options).digest
  }
}
