import SeededRandom
import Testing

@testable import Diffusion

@Suite struct SmoothingTests {
  /// One round, pixel by pixel, as the definition has it.
  private func expected(_ image: [Float], side: Int, range: Double, radius: Int) -> [Float] {
    func at(_ channel: Int, _ y: Int, _ x: Int) -> Float {
      image[(channel * side + min(max(y, 0), side - 1)) * side + min(max(x, 0), side - 1)]
    }
    let reach = Float(range) * 2 / 255
    return (0..<3 * side * side).map { i in
      let (channel, y, x) = (i / (side * side), i / side % side, i % side)
      var (sum, weights): (Float, Float) = (0, 0)
      for dy in -radius...radius {
        for dx in -radius...radius {
          var distance: Float = 0
          for c in 0..<3 {
            let difference = at(c, y + dy, x + dx) - at(c, y, x)
            distance += difference * difference
          }
          let weight = max(0, 1 - distance * (1 / (reach * reach)))
          weights += weight * weight
          sum += weight * weight * at(channel, y + dy, x + dx)
        }
      }
      return sum / weights
    }
  }

  private func noise(_ count: Int, _ strength: Float, seed: UInt64) -> [Float] {
    var random = SplitMix64(seed: seed)
    return (0..<count).map { _ in Float.random(in: -strength...strength, using: &random) }
  }

  /// Sides that are no multiple of a vector among them.
  @Test(arguments: [1, 3, 8, 13, 16], [1, 2, 5]) func itIsTheWeightedMean(_ side: Int, _ radius: Int) throws {
    let image = noise(3 * side * side, 0.2, seed: UInt64(side))
    let found = try Smoothing(range: 20, radius: radius, rounds: 1)(image, side: side)
    #expect(found == expected(image, side: side, range: 20, radius: radius))
    let twice = try Smoothing(range: 20, radius: radius, rounds: 2)(image, side: side)
    #expect(twice == expected(found, side: side, range: 20, radius: radius))
  }

  /// Mottle of a level goes, an edge between two colours stays where it is.
  @Test func itTakesMottleAndLeavesEdges() throws {
    let side = 32
    let clean: [Float] = (0..<3 * side * side).map { $0 % side < 13 ? -0.5 : 0.25 }
    let mottled = zip(clean, noise(clean.count, 2 / 255, seed: 7)).map(+)
    let smooth = try Smoothing(range: 24, radius: 3, rounds: 3)(mottled, side: side)
    func worst(_ image: [Float]) -> Float { zip(image, clean).map { abs($0 - $1) }.max() ?? 0 }
    #expect(worst(mottled) > 1.9 / 255)
    #expect(worst(smooth) < 0.5 / 255, "\(worst(smooth) * 255)")
  }

  @Test func refusesWhatMakesNoSense() {
    for (range, radius, rounds) in [(0, 1, 1), (-1, 1, 1), (.nan, 1, 1), (256, 1, 1), (8, 0, 1), (8, 9, 1), (8, 1, 0), (8, 1, 17)] {
      #expect(throws: DiffusionError.self, "\(range) \(radius) \(rounds)") { try Smoothing(range: range, radius: radius, rounds: rounds) }
    }
  }
}
