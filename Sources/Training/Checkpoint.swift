import Foundation
package import Tensors

/// Where a run stands, apart from its tensors.
package struct RunState: Hashable, Sendable, Codable {
  /// Optimiser steps taken.
  package var step = 0
  /// Examples seen: the position in the data and in the random numbers.
  package var examples: UInt64 = 0
  /// Seconds of training, over all sessions of the run.
  package var seconds = 0.0
  package var stage: String
  /// Of the recipe: the order of the data and all noise follow from it.
  package var seed: UInt64

  package init(stage: String, seed: UInt64) {
    self.stage = stage
    self.seed = seed
  }
}

/// A run's checkpoint files: the newest, and the one before it.
///
/// The new one is written beside and forced to disk, the old one is given its second name, then the new one takes its place; so
/// at any moment, and after any crash, the newest complete checkpoint is under its name.
package struct CheckpointStore: Sendable {
  package let newest: String
  package let previous: String
  private static let format = "weir-training-1"

  package init(folder: String) {
    newest = "\(folder)/checkpoint.safetensors"
    previous = "\(folder)/checkpoint-previous.safetensors"
  }

  package var exists: Bool {
    FileManager.default.fileExists(atPath: newest) || FileManager.default.fileExists(atPath: previous)
  }

  package func save(_ state: RunState, tensors: [(String, Tensor)]) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    let written = "\(newest).new"
    try Safetensors.write(
      tensors, metadata: ["format": Self.format, "state": String(decoding: encoder.encode(state), as: UTF8.self)], to: written)
    if FileManager.default.fileExists(atPath: newest) { try RunFile.keep(newest, as: previous) }
    try RunFile.move(written, to: newest)
  }

  /// The newest readable checkpoint; a damaged newest one is reported and the one before it taken.
  package func load(report: (String) -> Void) throws(TrainingError) -> (state: RunState, file: Safetensors) {
    var problems: [String] = []
    for path in [newest, previous] where FileManager.default.fileExists(atPath: path) {
      do {
        let file = try Safetensors.open(path)
        guard file.metadata["format"] == Self.format, let text = file.metadata["state"] else {
          problems.append("\(path): not a training checkpoint of this version")
          continue
        }
        let state = try JSONDecoder().decode(RunState.self, from: Data(text.utf8))
        for problem in problems { report("\(problem); going on from \(path)") }
        return (state, file)
      } catch {
        problems.append("\(path): \(error)")
      }
    }
    let reasons = problems.isEmpty ? "there is none" : problems.joined(separator: "; ")
    throw TrainingError(.checkpoint, "no checkpoint to resume from at \(newest): \(reasons); leave --resume out to start a new run")
  }
}
