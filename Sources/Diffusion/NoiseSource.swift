/// The noise of one sample in one stage: a pure function of (seed, stage, purpose, timestep, element).
///
/// Philox key = seed (low word, high word); counter word 3 = stage << 8 | purpose, word 2 = timestep, word 1 = 0,
/// word 0 = index of the block of four elements in flat CHW order. Nothing depends on the batch, the worker or what was drawn before.
package struct NoiseSource: Hashable, Sendable {
  package enum Purpose: UInt32, Hashable, Sendable, CaseIterable {
    /// x_T; the timestep is T. Of a run that begins with an image: that of its first step.
    case initial = 0
    /// A stochastic step's noise; the timestep is the original index that the network was called with.
    case step = 1
    /// ε_z of the low-resolution input's augmentation; the timestep is s.
    case augmentation = 2
  }

  package let seed: UInt64
  /// Index of the stage in its pipeline.
  package let stage: UInt8

  package init(seed: UInt64, stage: UInt8) {
    self.seed = seed
    self.stage = stage
  }

  /// `count` standard normals, each computed in float64 and rounded once.
  package func field(_ purpose: Purpose, timestep: Int, count: Int) -> [Float] {
    let key = SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
    let tag = UInt32(stage) << 8 | purpose.rawValue
    let time = UInt32(truncatingIfNeeded: timestep)
    return [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      var start = 0
      while start < count {
        let counter = SIMD4(UInt32(truncatingIfNeeded: start / 4), 0, time, tag)
        let normals = Philox.normals(Philox.block(counter, key: key))
        for lane in 0..<Swift.min(4, count &- start) { buffer.initializeElement(at: start &+ lane, to: Float(normals[lane])) }
        start &+= 4
      }
      initialized = count
    }
  }
}
