import SeededRandom

/// Networks that are slow, swallow or keep what they are given, in one direction or both, and end connections in the middle of a message.
func partitions(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let shape = ChaosFleet.Shape(perStage: 2, deadMilliseconds: 800, hasNetworks: true)
  return try await ChaosFleet.with(settings, shape) { fleet in
    let networks = try fleet.faultyNetworks()
    let report = try await fleet.loaded(steps: [20, 15, 10], concurrency: 4) { load in
      var random = SplitMix64(seed: settings.seed)
      var rounds = 0
      var cost = 0
      // A few may all have been harmless.
      while rounds < settings.rounds || (cost == 0 && rounds < settings.rounds + 50) {
        rounds += 1
        let chosen = [[networks.workers], [networks.clients], [networks.workers, networks.clients]].randomElement(using: &random) ?? []
        let weather = FaultyNetwork.Weather.random(using: &random)
        for network in chosen { network.set(weather) }
        // Sometimes longer than a worker may be silent and a client waits.
        try await Task.sleep(for: .milliseconds(Int.random(in: 100...1_400, using: &random)))
        if random.unit() < 0.4 { for network in chosen { network.cut(random.unit()) } }
        for network in chosen { network.set(.fine) }
        try await Task.sleep(for: .milliseconds(Int.random(in: 0...600, using: &random)))
        cost = await load.repeats
      }
    }
    let counters = [networks.workers, networks.clients].map(\.counters)
    try expect(report.repeats > 0, "no partition cost a worker its task, which tells nothing")
    return [
      "images": Double(report.images), "repeated_attempts": Double(report.repeats),
      "connections": Double(counters.reduce(0) { $0 + $1.connections }), "cut": Double(counters.reduce(0) { $0 + $1.cut }),
    ]
  }
}

extension FaultyNetwork.Weather {
  /// Bad in one direction, or alike in both.
  fileprivate static func random(using random: inout SplitMix64) -> Self {
    let bad: Tunnel.Weather =
      switch Int.random(in: 0..<3, using: &random) {
      case 0: .delay(.milliseconds(Int.random(in: 20...400, using: &random)))
      case 1: .hold
      default: .lose
      }
    return switch Int.random(in: 0..<3, using: &random) {
    case 0: Self(up: bad)
    case 1: Self(down: bad)
    default: Self(up: bad, down: bad)
    }
  }
}
