package import Diffusion

/// What training needs to know of a stage, apart from its network.
package struct StageSetting: Sendable {
  /// How a super-resolution stage's low-resolution input is treated.
  package enum LowRes: Sendable {
    /// Noised to level s, uniform in 0...maxLevel (0: clean), on the schedule of the stage below; the network is told s.
    /// Sheets of samples are drawn at `level`.
    case gaussian(maxLevel: Int, level: Int, schedule: Schedule)
    /// A 3x3 blur with σ uniform in a range, for a part of the examples.
    case blur(sigma: ClosedRange<Double>, probability: Double)
    case plain
  }

  package var name: String
  /// Of the classes, in the order of their numbers.
  package var labels: [String]
  package var resolution: Int
  /// Of the stage below; nil for a base stage.
  package var lowResolution: Int?
  package var lowRes: LowRes
  package var schedule: Schedule
  package var prediction: Prediction
  package var variance: Variance
  /// The sampler that the stage is served with.
  package var sampler: Sampler

  package init(
    name: String, labels: [String], resolution: Int, lowResolution: Int? = nil, lowRes: LowRes = .plain, schedule: Schedule,
    prediction: Prediction, variance: Variance, sampler: Sampler
  ) {
    self.name = name
    self.labels = labels
    self.resolution = resolution
    self.lowResolution = lowResolution
    self.lowRes = lowRes
    self.schedule = schedule
    self.prediction = prediction
    self.variance = variance
    self.sampler = sampler
  }
}
