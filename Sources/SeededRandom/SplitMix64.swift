/// SplitMix64 (Steele, Lea and Flood 2014): a small generator whose sequence is fixed by its seed, for orders, choices and faults. The noise of
/// samples and training is Philox's.
package struct SplitMix64: RandomNumberGenerator, Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    return Self.mix(state)
  }

  /// Uniform in [0, 1).
  package mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// True as often as this.
  package mutating func chance(_ probability: Double) -> Bool { unit() < probability }

  /// Its finaliser: neighbouring numbers give unrelated ones.
  package static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
