import Glibc
import Worker

/// Random signals at random moments over a fleet at work: kills and stops of workers and of the broker.
func kills(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let shape = ChaosFleet.Shape(perStage: 2, stepMilliseconds: 5, slots: 2, deadMilliseconds: 600, checkpointMilliseconds: 100)
  return try await ChaosFleet.with(settings, shape) { fleet in
    let tally = Tally()
    let (images, lost) = try await fleet.underLoad(steps: [30, 20, 10], concurrency: 4) {
      var random = SplitMix64(seed: settings.seed)
      while await tally.kills < settings.kills {
        try await Task.sleep(for: .milliseconds(Int.random(in: 50...600, using: &random)))
        let name = fleet.processes.randomElement(using: &random) ?? "broker"
        if random.unit() < 0.3 {
          // Sometimes longer than a lease lasts.
          let pause = Duration.milliseconds(Int.random(in: 50...1_200, using: &random))
          guard await fleet.signal(name, SIGSTOP) else { continue }
          await tally.add(stopped: true, name)
          Task {
            try? await Task.sleep(for: pause)
            await fleet.signal(name, SIGCONT)
          }
        } else {
          guard await fleet.signal(name, SIGKILL) else { continue }
          await tally.add(stopped: false, name)
        }
      }
    }
    let count = await tally.kills
    let allowed = fleet.lostStepsBound
    // As watchers saw it: a task's new attempt, or a restarted broker, shows the step of its last checkpoint.
    try expect(lost <= count * allowed, "\(lost) steps were lost in \(count) kills; \(allowed) each are allowed")
    return [
      "signals": Double(count), "stops": Double(await tally.stops), "broker": Double(await tally.broker), "images": Double(images),
      "lost_steps_per_kill": Double(lost) / Double(max(count, 1)), "lost_steps_allowed": Double(allowed),
    ]
  }
}

private actor Tally {
  private(set) var kills = 0
  private(set) var stops = 0
  private(set) var broker = 0

  func add(stopped: Bool, _ name: String) {
    kills += 1
    if stopped { stops += 1 }
    if name == "broker" { broker += 1 }
  }
}
