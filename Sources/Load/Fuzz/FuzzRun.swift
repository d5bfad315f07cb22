import Client
import Glibc
import Wire
import Worker
import ZeroMQ

/// Damaged messages against a real broker, and an honest client and honest workers beside them.
package struct FuzzRun: Sendable {
  package enum Broker: Hashable, Sendable {
    /// One that is started for it, with workers. `executables`: the folder of `weir`, `weir-broker` and `weir-worker`.
    case own(executables: String)
    /// One that runs already, on this machine.
    case running(endpoint: String, pid: Int32)
  }

  package struct Settings: Sendable {
    package var broker: Broker
    package var corpus: Corpus
    package var frames: Int
    package var seed: UInt64
    /// At each of the broker's two ends.
    package var connections: Int

    package init(broker: Broker, corpus: Corpus, frames: Int, seed: UInt64, connections: Int) {
      self.broker = broker
      self.corpus = corpus
      self.frames = frames
      self.seed = seed
      self.connections = connections
    }
  }

  package struct Verdict: Sendable {
    package var frames = 0
    package var messages = 0
    /// Connections that spoke below the layer of messages.
    package var rawConnections = 0
    package var seconds = 0.0
    /// Of the broker, in MiB: before, and after each of `parts` equal parts of the frames.
    package var residentMiB: [Double] = []
    /// The same after half of the frames, and at the end, once what was queued was handled and what was freed was given back.
    package var settledMiB: [Double] = []
    package var honestImages = 0
    package var failure: String?

    /// How much more memory the broker had at the end than after half of the frames: 0.05 is 5 %.
    package var growth: Double {
      guard settledMiB.count == 2, settledMiB[0] > 0 else { return 0 }
      return settledMiB[1] / settledMiB[0] - 1
    }
  }

  package static let parts = 20
  /// Fewer frames do not fill the broker's tables, so growth says nothing.
  package static let leastFramesForGrowth = 2_000_000
  private static let maxGrowth = 0.05
  /// Longer than a broker keeps what it freed.
  private static let settling = 25

  private let settings: Settings
  private let log: @Sendable (String) -> Void

  /// - Parameter log: gets what the processes say, line by line.
  package init(_ settings: Settings, log: @escaping @Sendable (String) -> Void = { _ in }) {
    self.settings = settings
    self.log = log
  }

  /// Floods the broker, and looks whether it still does honest work.
  package func run() async -> Verdict {
    do {
      switch settings.broker {
      case .own(let executables): return try await runFleet(executables)
      case .running(let endpoint, let pid):
        let client = try ChaosFleet.client(endpoint)
        let verdict = await flood(FuzzTarget(endpoint: endpoint, client: client) { kill(pid, 0) == 0 ? pid : nil })
        await client.close()
        return verdict
      }
    } catch {
      return Verdict(failure: "\(error)")
    }
  }

  private func runFleet(_ executables: String) async throws -> Verdict {
    let chaos = Chaos.Settings(executables: executables, seed: settings.seed, log: log)
    // Room for honest jobs beside what damaged submissions ask for, as in a fleet that tenants share; and little of everything, so that the
    // tables are full soon and growth is seen.
    let shape = ChaosFleet.Shape(
      stepMilliseconds: 1,
      brokerOptions: ["--max-open-tasks", "10000", "--max-tenant-tasks", "2000", "--keep-samples", "2000", "--cache-bytes", "4MiB"])
    return try await ChaosFleet.with(chaos, shape) { fleet in
      await flood(FuzzTarget(endpoint: fleet.endpoint, client: fleet.client) { await fleet.pid("broker") })
    }
  }

  private func flood(_ target: FuzzTarget) async -> Verdict {
    var verdict = Verdict()
    do { try await flood(target, &verdict) } catch { verdict.failure = "\(error)" }
    return verdict
  }

  private func flood(_ target: FuzzTarget, _ verdict: inout Verdict) async throws {
    let start = ContinuousClock.now
    let broker = await target.pid()
    let loop = try SocketLoop(name: "fuzz")
    defer { loop.stop() }
    let storm = try FrameStorm(
      at: target.endpoint, corpus: settings.corpus, seed: settings.seed, connections: settings.connections, on: loop)
    let isSynthetic = try await target.isSynthetic()
    let key = "fuzz-\(settings.seed)-\(UInt64.random(in: 0...UInt64.max))"
    @Sendable func honestJob(_ number: Int) async throws -> Int {
      isSynthetic ? try await target.honestJob(number, key: key) : 0
    }
    verdict.honestImages += try await honestJob(0)
    verdict.residentMiB.append(try await target.residentMemory())
    for part in 1...Self.parts {
      // An honest job runs in the storm.
      async let images = honestJob(part)
      try await storm.send(settings.frames / Self.parts * part)
      verdict.honestImages += try await images
      verdict.residentMiB.append(try await target.residentMemory())
      if part == Self.parts / 2 || part == Self.parts { verdict.settledMiB.append(try await settledMemory(target)) }
      verdict.frames = await storm.frames
      verdict.messages = await storm.messages
      verdict.rawConnections = await storm.rawConnections
    }
    await storm.stop()
    verdict.seconds = start.duration(to: .now) / .seconds(1)
    verdict.honestImages += try await honestJob(Self.parts + 1)
    try expect(await target.pid() == broker, "the broker ended and was started again")
    guard settings.frames >= Self.leastFramesForGrowth else { return }
    try expect(verdict.growth <= Self.maxGrowth, "the broker grew by \(Int(verdict.growth * 100)) % after the first half")
  }

  /// The least that the broker has for a while in which nothing is sent to it.
  private func settledMemory(_ target: FuzzTarget) async throws -> Double {
    guard settings.frames >= Self.leastFramesForGrowth else { return try await target.residentMemory() }
    var least = Double.infinity
    for _ in 0..<Self.settling {
      try await Task.sleep(for: .seconds(1))
      least = min(least, try await target.residentMemory())
    }
    return least
  }
}
