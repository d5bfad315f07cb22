/// Which of the T training steps a sampler visits: guided-diffusion's `timestep_respacing`.
package enum Respacing {
  /// Ascending original indices.
  ///
  /// `specification`: "" for all steps; "N" for N steps over the whole range; "a,b,c" for sections of equal length (the first ones get the
  /// remainder) with their own counts; "ddimN" for the first integer stride that gives N steps.
  package static func indices(_ specification: String, trainSteps: Int) throws(DiffusionError) -> [Int] {
    if specification.isEmpty { return Array(0..<trainSteps) }
    if specification.hasPrefix("ddim") {
      guard let wanted = Int(specification.dropFirst(4)), (1...trainSteps).contains(wanted) else {
        throw DiffusionError(.respacing, "\"\(specification)\" is not ddimN with N between 1 and \(trainSteps)")
      }
      for stride in 1...trainSteps where (trainSteps + stride - 1) / stride == wanted {
        return Array(Swift.stride(from: 0, to: trainSteps, by: stride))
      }
      throw DiffusionError(.respacing, "no integer stride over \(trainSteps) steps visits exactly \(wanted); use \"\(wanted)\"")
    }
    var counts: [Int] = []
    for part in specification.split(separator: ",", omittingEmptySubsequences: false) {
      guard let count = Int(part), count >= 1 else {
        throw DiffusionError(.respacing, "\"\(specification)\" is not a step count, a list \"a,b,c\" of counts, or ddimN")
      }
      counts.append(count)
    }
    return try sections(counts, trainSteps: trainSteps)
  }

  /// `counts[k]` indices out of the k-th of `counts.count` sections.
  package static func sections(_ counts: [Int], trainSteps: Int) throws(DiffusionError) -> [Int] {
    guard !counts.isEmpty, counts.count <= trainSteps else {
      throw DiffusionError(.respacing, "\(counts.count) sections do not fit \(trainSteps) steps")
    }
    var indices: [Int] = []
    var start = 0
    for (k, count) in counts.enumerated() {
      let size = trainSteps / counts.count + (k < trainSteps % counts.count ? 1 : 0)
      guard count >= 1, count <= size else {
        throw DiffusionError(.respacing, "cannot take \(count) steps from \(size): give at least 1 and at most \(size)")
      }
      // The float is accumulated and rounded half to even, as Python does it: 1000 in 5 gives 0, 250, 500, 749, 999.
      let stride = count == 1 ? 1 : Double(size - 1) / Double(count - 1)
      var position = 0.0
      for _ in 0..<count {
        indices.append(start + Int(position.rounded(.toNearestOrEven)))
        position += stride
      }
      start += size
    }
    return indices
  }
}
