import Load
import Testing

/// The broker's promises under a seeded adversary, and that breaking one is noticed.
@Suite struct SimulationTests {
  @Test(arguments: 1...40) func promisesAreKept(seed: Int) {
    let outcome = Simulator().run(seed: UInt64(seed), auditsAlways: true)
    #expect(outcome.violation == nil, "replay with: weir-load simulate --seed \(seed) --trace")
  }

  /// Seeds that are known to catch what most seeds don't; the plan of a seed may change with the code.
  private static let hints: [Plant: UInt64] = [
    .ignoreLeaseExpiry: 57, .tearCommits: 313, .leaseByWallClock: 30, .ignoreWeights: 48, .forgetRetries: 100, .tenantLimitOffByOne: 22,
    .keySharedAcrossTenants: 12, .blameTheHonest: 38, .forgetQuarantine: 956,
  ]

  @Test(arguments: Plant.allCases) func aPlantedBugIsCaught(plant: Plant) {
    let simulator = Simulator(plant: plant)
    let seeds = (Self.hints[plant].map { [$0] } ?? []) + Array(1...2_000)
    let caught = seeds.first { simulator.run(seed: $0).violation != nil }
    #expect(caught != nil, "2,000 seeds did not notice that \(plant.explanation)")
  }

  @Test func aSeedIsOneRun() {
    let simulator = Simulator()
    let outcomes = (1...5).map { simulator.run(seed: $0) }
    #expect(outcomes == (1...5).map { simulator.run(seed: $0) })
    #expect(Set(outcomes.map(\.fingerprint)).count == 5)
    // Tracing a run does not change it.
    #expect(simulator.replay(seed: 3).outcome.fingerprint == outcomes[2].fingerprint)
  }

  @Test func aFailingSeedReplaysToItsEventWithTheFewestFaults() throws {
    let simulator = Simulator(plant: .forgetJobs)
    // A job is forgotten in a restart. Mostly that takes one fault; without it there is no violation.
    let failing = (1...2_000 as ClosedRange<UInt64>).lazy.filter { simulator.run(seed: $0).violation != nil }
    let (seed, faults) = try #require(failing.map { ($0, simulator.minimise(seed: $0)) }.first { $0.1.count == 1 })
    let finding = simulator.replay(seed: seed, faults: faults)
    let violation = try #require(finding.outcome.violation)
    #expect(finding.faults.count == faults.count && finding.history.count > 1)
    #expect(simulator.replay(seed: seed, faults: faults).outcome == finding.outcome)
    #expect(violation.rule == .disk)
    #expect(simulator.run(seed: seed, faults: [], auditsAlways: true).violation == nil)
  }
}
