import Client
import Wire
import Worker
import ZeroMQ

/// Damaged messages against a real broker, and an honest client and honest workers beside them.
package struct FuzzRun: Sendable {
  package struct Settings: Sendable {
    package var executables: String
    package var corpus: Corpus
    package var frames: Int
    package var seed: UInt64
    /// At each of the broker's two ends.
    package var connections: Int

    package init(executables: String, corpus: Corpus, frames: Int, seed: UInt64, connections: Int) {
      self.executables = executables
      self.corpus = corpus
      self.frames = frames
      self.seed = seed
      self.connections = connections
    }
  }

  package struct Verdict: Sendable {
    package var frames = 0
    package var messages = 0
    package var seconds = 0.0
    /// Of the broker, in MiB: before, and after each tenth of the frames.
    package var residentMiB: [Double] = []
    package var honestImages = 0
    package var failure: String?
  }

  private static let parts = 10
  /// What the broker may grow by once a fifth of the frames has filled its tables.
  private static let maxGrowthMiB = 32.0

  private let settings: Settings
  private let log: @Sendable (String) -> Void

  /// - Parameter log: gets what the processes say, line by line.
  package init(_ settings: Settings, log: @escaping @Sendable (String) -> Void = { _ in }) {
    self.settings = settings
    self.log = log
  }

  /// Starts a fleet, floods it, and looks whether it still does honest work.
  package func run() async -> Verdict {
    let chaos = Chaos.Settings(executables: settings.executables, seed: settings.seed, log: log)
    // Room for honest jobs beside what damaged submissions ask for, as in a fleet that tenants share; and little of everything, so that the
    // tables are full soon and growth is seen.
    let shape = ChaosFleet.Shape(
      stepMilliseconds: 1, brokerOptions: ["--max-open-tasks", "10000", "--max-tenant-tasks", "2000", "--keep-samples", "2000"])
    do {
      return try await ChaosFleet.with(chaos, shape) { fleet in
        var verdict = Verdict()
        do { try await flood(fleet, &verdict) } catch { verdict.failure = "\(error)" }
        return verdict
      }
    } catch {
      return Verdict(failure: "\(error)")
    }
  }

  private func flood(_ fleet: ChaosFleet, _ verdict: inout Verdict) async throws {
    let start = ContinuousClock.now
    let broker = await fleet.pid("broker")
    let loop = try SocketLoop(name: "fuzz")
    defer { loop.stop() }
    let storm = try FrameStorm(
      at: fleet.endpoint, corpus: settings.corpus, seed: settings.seed, connections: settings.connections, on: loop)
    verdict.honestImages += try await honestJob(0, fleet)
    verdict.residentMiB.append(await fleet.brokerMemory())
    for part in 1...Self.parts {
      // An honest job runs in the storm.
      async let images = honestJob(part, fleet)
      try await storm.send(settings.frames / Self.parts * part)
      verdict.honestImages += try await images
      verdict.residentMiB.append(await fleet.brokerMemory())
      verdict.frames = await storm.frames
      verdict.messages = await storm.messages
    }
    await storm.stop()
    verdict.seconds = start.duration(to: .now) / .seconds(1)
    verdict.honestImages += try await honestJob(Self.parts + 1, fleet)
    try expect(await fleet.pid("broker") == broker, "the broker ended and was started again")
    let filled = verdict.residentMiB[Self.parts / 5]
    let last = verdict.residentMiB[Self.parts]
    try expect(last - filled <= Self.maxGrowthMiB, "the broker grew from \(filled) to \(last) MiB")
  }

  /// A job that nobody damaged, and each of its images compared with the oracle's.
  private func honestJob(_ number: Int, _ fleet: ChaosFleet) async throws -> Int {
    var submission = fleet.submission(number, steps: [3, 2, 2])
    submission.pipeline = SyntheticEngine.pipeline.name
    submission.tenant = "honest"
    submission.priority = .high
    return try await fleet.verify(try await fleet.client.submit(submission).job, of: submission)
  }
}
