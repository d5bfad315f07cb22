import Foundation

/// How a stage is trained: every number that decides what a run does, and nothing about where its files lie.
package struct Recipe: Sendable, Hashable, Codable {
  /// Examples that go through the network together.
  package var batch: Int
  /// Batches a step.
  package var accumulate = 1
  /// The learning rate after warm-up.
  package var learningRate = 4e-4
  /// Steps over which the learning rate rises linearly from 0.
  package var warmup = 200
  /// Falls along a half cosine to `finalFraction` of the learning rate at the end of the run's budget.
  package var decay = false
  package var finalFraction = 0.05
  package var weightDecay = 0.0
  /// The gradient's norm is cut to this.
  package var clip = 1.0
  /// The weight of the old average in the moving average of the weights, once the run is old enough.
  package var averaging = 0.9995
  /// Trains on random windows of this side instead of whole images.
  package var crop: Int?
  /// Mirrors half of the examples.
  package var flip = false
  /// The part of the examples that are trained with the null class, for classifier-free guidance (Ho & Salimans 2022, algorithm 1).
  package var labelDrop = 0.0
  /// The highest level s of noise on the low-resolution inputs, at most the stage's own; `nil`: the stage's.
  package var maxLevel: Int?
  /// The part of the examples whose low-resolution input is one that was drawn anew, of the images that have such.
  package var redrawn = 0.0
  package var seed: UInt64 = 0

  package init(batch: Int) { self.batch = batch }

  /// The learning rate of a step (counted from 0). `progress`: the part of the run's budget that is used, 0...1.
  package func learningRate(step: Int, progress: Double) -> Double {
    let rise = warmup > 0 ? min(1, Double(step + 1) / Double(warmup)) : 1
    guard decay else { return learningRate * rise }
    let fall = 0.5 * (1 + cos(.pi * min(max(progress, 0), 1)))
    return learningRate * rise * (finalFraction + (1 - finalFraction) * fall)
  }

  /// The weight of the old average after `updates` optimiser steps: young averages forget the initial weights fast.
  package func averaging(updates: Int) -> Double {
    min(averaging, (1 + Double(updates)) / (10 + Double(updates)))
  }

  package func validate(_ setting: StageSetting, networkFactor: Int) throws(TrainingError) {
    func require(_ condition: Bool, _ message: String) throws(TrainingError) {
      if !condition { throw TrainingError(.options, message) }
    }
    try require((1...4096).contains(batch), "--batch \(batch): 1 to 4096")
    try require((1...4096).contains(accumulate), "--accumulate \(accumulate): 1 to 4096")
    try require(learningRate > 0 && learningRate <= 1, "--lr \(learningRate): above 0, at most 1")
    try require(warmup >= 0, "--warmup \(warmup): not below 0")
    try require((0..<1).contains(averaging), "--ema \(averaging): from 0 to below 1")
    try require((0...1).contains(labelDrop), "--label-drop \(labelDrop): from 0 to 1")
    try require((0...1).contains(redrawn), "--redrawn-part \(redrawn): from 0 to 1")
    if let crop {
      try require(
        crop > 0 && crop <= setting.resolution && crop % networkFactor == 0,
        "--crop \(crop): a multiple of \(networkFactor) (the network halves the image that far) up to the stage's \(setting.resolution)")
    }
    if let maxLevel {
      guard case .gaussian(let highest, _, _) = setting.lowRes else {
        throw TrainingError(.options, "--max-level \(maxLevel): \(setting.name)'s inputs are not noised: leave it out")
      }
      try require((0...highest).contains(maxLevel), "--max-level \(maxLevel): 0 to the stage's \(highest)")
    }
  }
}
