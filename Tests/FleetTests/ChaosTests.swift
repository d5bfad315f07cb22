import Load
import Testing

extension FleetTests {
  /// The quicker scenarios of `weir-load chaos`.
  @Suite struct ChaosTests {
    @Test(arguments: [
      ChaosScenario.workerKilled, .poison, .queueBound, .cancelStorm, .clientDies, .kills, .batchInvariance, .deadlines, .liar,
      .writePoints, .partitions, .filesExhausted, .clockJumps,
    ])
    func promisesAreKept(scenario: ChaosScenario) async {
      let seed = UInt64.random(in: 0..<1 << 32)
      let chaos = Chaos(.init(executables: Program.folder, seed: seed, kills: 30, rounds: 6) { print($0) })
      let verdict = await chaos.run(scenario)
      let replay = "weir-load chaos --scenario \(scenario.rawValue) --seed \(seed) --kills 30 --rounds 6"
      #expect(verdict.passed, "\(verdict.reason ?? ""); \(replay)")
    }
  }
}
