/// Where a sampler stands with one sample: everything that is needed to go on bit-equally elsewhere.
package struct SamplerState: Hashable, Sendable {
  /// x at the current noise level, flat CHW.
  package var x: [Float]
  /// Steps finished.
  package var step: Int
  /// The previous x̂_0 of a multistep sampler; `nil` when the next step does not need it.
  package var history: [Float]?

  package init(x: [Float], step: Int = 0, history: [Float]? = nil) {
    self.x = x
    self.step = step
    self.history = history
  }

  /// The state's arrays under the names `x` and `history`.
  package var arrays: [String: [Float]] {
    var arrays = ["x": x]
    arrays["history"] = history
    return arrays
  }

  /// A saved state, checked against the run it belongs to.
  package init(step: Int, arrays: [String: [Float]], sampler: Sampler, count: Int) throws(DiffusionError) {
    guard (0...sampler.steps).contains(step) else {
      throw DiffusionError(.state, "the saved state is at step \(step) of a run of \(sampler.steps)")
    }
    let expected: Set<String> = sampler.keepsHistory(after: step) ? ["x", "history"] : ["x"]
    guard Set(arrays.keys) == expected else {
      throw DiffusionError(
        .state,
        "a state of \(sampler.kind.rawValue) at step \(step) has \(expected.sorted()), the saved one has \(arrays.keys.sorted())")
    }
    for (name, values) in arrays {
      guard values.count == count else {
        throw DiffusionError(.state, "saved array \"\(name)\" has \(values.count) elements instead of \(count)")
      }
      guard values.allSatisfy(\.isFinite) else { throw DiffusionError(.state, "saved array \"\(name)\" holds a value that is not finite") }
    }
    self.init(x: arrays["x"] ?? [], step: step, history: arrays["history"])
  }
}
