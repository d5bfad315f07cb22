import Glibc
import SeededRandom

/// Where a broker can die while it writes, and how many of such calls may pass before.
private struct WritePoint {
  let call: CallTrap.Call
  let moment: CallTrap.Moment
  let counts: ClosedRange<Int>

  /// In a commit, between it and the acknowledgement, in the acknowledgement, and while the log goes into the file and begins anew.
  static let all: [WritePoint] = [
    WritePoint(call: .tensorWrite, moment: .before, counts: 1...60),
    WritePoint(call: .tensorWrite, moment: .after, counts: 1...60),
    WritePoint(call: .tensorSync, moment: .before, counts: 1...30),
    WritePoint(call: .tensorSync, moment: .after, counts: 1...30),
    WritePoint(call: .logWrite, moment: .before, counts: 1...400),
    WritePoint(call: .logWrite, moment: .after, counts: 1...400),
    WritePoint(call: .logSync, moment: .before, counts: 1...60),
    WritePoint(call: .logSync, moment: .after, counts: 1...60),
    WritePoint(call: .markWrite, moment: .before, counts: 1...60),
    WritePoint(call: .markWrite, moment: .after, counts: 1...60),
    WritePoint(call: .send, moment: .before, counts: 1...200),
    WritePoint(call: .send, moment: .after, counts: 1...200),
    WritePoint(call: .databaseWrite, moment: .before, counts: 1...500),
    WritePoint(call: .databaseWrite, moment: .after, counts: 1...500),
    WritePoint(call: .databaseSync, moment: .before, counts: 1...2),
    WritePoint(call: .databaseSync, moment: .after, counts: 1...2),
    WritePoint(call: .logRestart, moment: .before, counts: 1...1),
    WritePoint(call: .logRestart, moment: .after, counts: 1...1),
  ]
}

func writePoints(_ settings: Chaos.Settings) async throws -> [String: Double] { try await strike(settings) { _ in .kill } }

func powerLoss(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await strike(settings) { random in .losePower(seed: random.next()) }
}

/// Strikes at one write point after the other, the broker under load, and again as soon as it is back.
private func strike(
  _ settings: Chaos.Settings, _ effect: @escaping @Sendable (inout SplitMix64) -> CallTrap.Effect
) async throws -> [String: Double] {
  // The broker tells of commits that are gone, and none may be.
  let complaints = Complaints()
  var settings = settings
  settings.log = { [log = settings.log] line in
    complaints.note(line)
    log(line)
  }
  let rounds = settings.rounds
  let executables = settings.executables
  let seed = settings.seed
  return try await ChaosFleet.with(settings, .init(stepMilliseconds: 1, checkpointMilliseconds: 50)) { fleet in
    let images = try await fleet.underLoad(steps: [6, 4, 2], concurrency: 4) {
      var random = SplitMix64(seed: seed)
      var points: [WritePoint] = []
      var struck: Int32?
      for _ in 0..<rounds {
        if points.isEmpty { points = WritePoint.all.shuffled(using: &random) }
        let point = points.removeLast()
        let broker = try await fleet.runningBroker(after: struck)
        let trap = CallTrap(
          broker, at: point.call, count: Int.random(in: point.counts, using: &random), point.moment,
          effect: effect(&random))
        try await trap.spring(executables)
        struck = broker
        try complaints.check("after the \(trap.count)th \(point.call.rawValue)")
      }
    }.images
    try complaints.check("at the end")
    return ["strikes": Double(rounds), "images": Double(images)]
  }
}
