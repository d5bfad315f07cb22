import Glibc

/// Runs scenarios against real processes.
package struct Chaos: Sendable {
  /// What the workers compute.
  package enum Engine: Hashable, Sendable {
    case synthetic
    /// The networks of a pipeline folder.
    case cascade(pipeline: String)
  }

  package struct Settings: Sendable {
    /// The folder of `weir`, `weir-broker`, `weir-worker` and `weir-load`.
    package var executables: String
    package var engine: Engine
    /// What is random comes from it; when a signal arrives is up to the machine.
    package var seed: UInt64
    /// Of the scenario `kills`.
    package var kills: Int
    /// How often scenarios strike that do so again and again.
    package var rounds: Int
    /// Gets what the processes say, line by line.
    package var log: @Sendable (String) -> Void

    package init(
      executables: String, engine: Engine = .synthetic, seed: UInt64, kills: Int = 1_000, rounds: Int = 42,
      log: @escaping @Sendable (String) -> Void = { _ in }
    ) {
      self.executables = executables
      self.engine = engine
      self.seed = seed
      self.kills = kills
      self.rounds = rounds
      self.log = log
    }
  }

  private let settings: Settings

  package init(_ settings: Settings) { self.settings = settings }

  package func run(_ scenario: ChaosScenario) async -> ChaosVerdict {
    let start = ContinuousClock.now
    var verdict = ChaosVerdict(
      scenario: scenario.rawValue, engine: settings.engine == .synthetic ? "synthetic" : "cascade", seed: settings.seed, passed: true,
      seconds: 0, figures: [:])
    do {
      verdict.figures = try await figures(of: scenario)
    } catch {
      verdict.passed = false
      verdict.reason = "\(error)"
    }
    verdict.seconds = (start.duration(to: .now) / .milliseconds(100)).rounded() / 10
    return verdict
  }

  private func figures(of scenario: ChaosScenario) async throws -> [String: Double] {
    switch scenario {
    case .workerKilled: try await workerKilled(settings)
    case .workerFrozen: try await workerFrozen(settings)
    case .brokerKilled: try await brokerKilled(settings)
    case .draftsLost: try await draftsLost(settings)
    case .shortLives: try await shortLives(settings)
    case .stageDies: try await stageDies(settings)
    case .slowReader: try await slowReader(settings)
    case .longStep: try await longStep(settings)
    case .poison: try await poison(settings)
    case .queueBound: try await queueBound(settings)
    case .cancelStorm: try await cancelStorm(settings)
    case .spike: try await spike(settings)
    case .rollingRestart: try await rollingRestart(settings)
    case .clientDies: try await clientDies(settings)
    case .kills: try await kills(settings)
    case .batchInvariance: try await batchInvariance(settings)
    case .deadlines: try await deadlines(settings)
    case .deadlineMix: try await deadlineMix(settings)
    case .fairness: try await fairness(settings)
    case .weights: try await weights(settings)
    case .headOfLine: try await headOfLine(settings)
    case .slowWatcher: try await slowWatcher(settings)
    case .liar: try await liar(settings)
    case .writePoints: try await writePoints(settings)
    case .powerLoss: try await powerLoss(settings)
    case .partitions: try await partitions(settings)
    case .diskFull: try await diskFull(settings)
    case .readOnly: try await readOnly(settings)
    case .filesExhausted: try await filesExhausted(settings)
    case .clockJumps: try await clockJumps(settings)
    case .strangers: try await strangers(settings)
    }
  }
}
