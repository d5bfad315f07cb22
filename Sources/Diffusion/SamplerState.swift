/// Where a sampler stands with one sample: everything that is needed to go on bit-equally elsewhere.
package struct SamplerState: Hashable, Sendable {
  /// x at the current noise level, flat CHW.
  package var x: [Float]
  /// Steps finished.
  package var step: Int
  /// The previous x̂_0 of a multistep sampler that the next step needs, the last one first.
  package var history: [[Float]]

  private static let historyNames = ["history", "history2"]

  package init(x: [Float], step: Int = 0, history: [[Float]] = []) {
    self.x = x
    self.step = step
    self.history = history
  }

  /// The state's arrays under the names `x`, `history` and `history2`.
  package var arrays: [String: [Float]] {
    Dictionary(uniqueKeysWithValues: [("x", x)] + zip(Self.historyNames, history))
  }

  /// A saved state, checked against the run it belongs to.
  package init(step: Int, arrays: [String: [Float]], sampler: Sampler, count: Int) throws(DiffusionError) {
    guard (0...sampler.steps).contains(step) else {
      throw DiffusionError(.state, "the saved state is at step \(step) of a run of \(sampler.steps)")
    }
    let history = Self.historyNames.prefix(sampler.historyLength(after: step))
    guard Set(arrays.keys) == Set(["x"] + history) else {
      throw DiffusionError(
        .state, "a state of \(sampler.kind.rawValue) at step \(step) has \(["x"] + history), the saved one has \(arrays.keys.sorted())")
    }
    for (name, values) in arrays {
      guard values.count == count else {
        throw DiffusionError(.state, "saved array \"\(name)\" has \(values.count) elements instead of \(count)")
      }
      guard values.allSatisfy(\.isFinite) else { throw DiffusionError(.state, "saved array \"\(name)\" holds a value that is not finite") }
    }
    self.init(x: arrays["x"] ?? [], step: step, history: history.map { arrays[$0] ?? [] })
  }
}
