import Load
import Testing

extension FleetTests {
  /// The quicker scenarios of `weir-load chaos`.
  @Suite struct ChaosTests {
    static let scenarios: [ChaosScenario] = [
      .workerKilled, .poison, .queueBound, .cancelStorm, .clientDies, .kills, .batchInvariance, .deadlines, .liar, .writePoints,
      .draftsLost, .partitions, .filesExhausted, .clockJumps,
    ]

    /// Two at a time, in fleets of their own: one alone leaves nearly half of two cores idle.
    @Test func promisesAreKept() async {
      let seed = UInt64.random(in: 0..<1 << 32)
      let chaos = Chaos(.init(executables: Program.folder, seed: seed, kills: 30, rounds: 6) { print($0) })
      await withTaskGroup(of: Void.self) { group in
        for (index, scenario) in Self.scenarios.enumerated() {
          if index >= 2 { await group.next() }
          group.addTask {
            let verdict = await chaos.run(scenario)
            let replay = "weir-load chaos --scenario \(scenario.rawValue) --seed \(seed) --kills 30 --rounds 6"
            #expect(verdict.passed, "\(verdict.reason ?? ""); \(replay)")
          }
        }
      }
    }
  }
}
