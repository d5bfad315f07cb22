import Foundation

/// Draws a new network's parameters: the same seed gives the same numbers everywhere.
struct StartingValues {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  /// The elements of the next parameter, in row-major order.
  mutating func next(_ parameter: Parameter) -> [Float] {
    switch parameter.start {
    case .zeros: return Array(repeating: 0, count: parameter.count)
    case .ones: return Array(repeating: 1, count: parameter.count)
    case .uniform(let bound): return (0..<parameter.count).map { _ in Float(bound * (2 * unit() - 1)) }
    case .normal: return (0..<parameter.count).map { _ in Float(normal()) }
    }
  }

  /// Uniform in [0, 1), 53 bits.
  private mutating func unit() -> Double {
    Double(bits() >> 11) * 0x1p-53
  }

  /// Box-Muller, one number of the pair.
  private mutating func normal() -> Double {
    (-2 * log(1 - unit())).squareRoot() * cos(2 * .pi * unit())
  }

  /// SplitMix64 (Steele, Lea & Flood 2014).
  private mutating func bits() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
