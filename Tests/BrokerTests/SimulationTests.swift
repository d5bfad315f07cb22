import Foundation
import Testing

/// Runs of the core under a seeded adversary. `WEIR_SEED=n` runs one seed, `WEIR_SEEDS=n` the first n.
struct SimulationTests {
  static var seeds: [UInt64] {
    let environment = ProcessInfo.processInfo.environment
    if let seed = environment["WEIR_SEED"].flatMap(UInt64.init) { return [seed] }
    return Array(1...(environment["WEIR_SEEDS"].flatMap(UInt64.init) ?? 40))
  }

  @Test(arguments: seeds) func whateverWasAcceptedFinishesOnce(seed: UInt64) {
    var simulation = Simulation(seed: seed)
    let complaints = simulation.run()
    #expect(complaints.isEmpty, "replay with WEIR_SEED=\(seed)")
  }
}
