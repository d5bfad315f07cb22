import Wire
import Worker

/// What each image of a scenario has to be, byte for byte.
///
/// The synthetic engine's images are computed here, with nothing of a fleet. Those of networks are learnt: what a fleet at rest makes of one
/// sample at a time, nothing that happens later may change.
actor ImageOracle {
  struct Sample: Hashable, Sendable {
    var label: String
    var seed: UInt64
    var options: [StageOptions]
  }

  private let engine: Chaos.Engine
  private var known: [Sample: WireTensor] = [:]

  init(_ engine: Chaos.Engine) { self.engine = engine }

  /// In the order of the job's samples.
  static func samples(of submission: Submission) -> [Sample] {
    submission.runs.flatMap { run in
      (0..<UInt64(run.count)).map { Sample(label: run.label, seed: run.seed &+ $0, options: submission.options) }
    }
  }

  func knows(_ sample: Sample) -> Bool { engine == .synthetic || known[sample] != nil }

  func learn(_ sample: Sample, _ image: WireTensor) { known[sample] = image }

  func image(_ sample: Sample) throws -> WireTensor {
    if engine == .synthetic {
      guard let label = UInt32(sample.label) else { throw Broken("label \(sample.label) is no number") }
      return try SyntheticEngine.reference(label: label, seed: sample.seed, options: sample.options)
    }
    guard let image = known[sample] else { throw Broken("nobody knows the image of \(sample): it was not rehearsed") }
    return image
  }
}
