import ArgumentParser
import Load
import Worker

/// For tests, and the scenario of `weir-load chaos`, that need it.
struct LyingWorkerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lying-worker", abstract: "A worker of the synthetic engine whose results may be wrong.", shouldDisplay: false)

  @Option var stage: String
  @Option var broker: String
  @Option var name: String
  @Option var stepMs = 5.0
  @Option var slots = 4
  @Option var lie = LyingEngine.Lie.always
  @Option var oneIn = 1_000

  func run() async throws {
    guard let endpoint = BrokerEndpoint(broker) else { throw ValidationError("--broker \(broker): write it like tcp://127.0.0.1:7710.") }
    guard oneIn >= 1 else { throw ValidationError("--one-in \(oneIn): give at least 1.") }
    try await LyingWorker.run(lie, oneIn: oneIn, stage: stage, broker: endpoint, name: name, stepMilliseconds: stepMs, slots: slots)
  }
}

extension LyingEngine.Lie: ExpressibleByArgument {}
