import Foundation
import SeededRandom

/// Draws a new network's parameters: the same seed gives the same numbers everywhere.
struct StartingValues {
  private var random: SplitMix64

  init(seed: UInt64) { random = SplitMix64(seed: seed) }

  /// The elements of the next parameter, in row-major order.
  mutating func next(_ parameter: Parameter) -> [Float] {
    switch parameter.start {
    case .zeros: return Array(repeating: 0, count: parameter.count)
    case .ones: return Array(repeating: 1, count: parameter.count)
    case .uniform(let bound): return (0..<parameter.count).map { _ in Float(bound * (2 * random.unit() - 1)) }
    case .normal: return (0..<parameter.count).map { _ in Float(normal()) }
    }
  }

  /// Box-Muller, one number of the pair.
  private mutating func normal() -> Double {
    (-2 * log(1 - random.unit())).squareRoot() * cos(2 * .pi * random.unit())
  }
}
