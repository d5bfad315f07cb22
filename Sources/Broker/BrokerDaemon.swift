package import Logging
import ServiceLifecycle
import ZeroMQ

/// A broker as a service: it listens until it is told to shut down, or its journal fails.
package struct BrokerDaemon: Service {
  package var configuration: BrokerConfiguration
  package var logger: Logger
  /// Each element makes it read its access list again at once.
  package var reloads: AsyncStream<Void>
  /// Called once it listens.
  package var onReady: @Sendable (BrokerService.Endpoints) -> Void

  package init(
    _ configuration: BrokerConfiguration, logger: Logger, reloads: AsyncStream<Void> = AsyncStream { $0.finish() },
    onReady: @escaping @Sendable (BrokerService.Endpoints) -> Void
  ) {
    self.configuration = configuration
    self.logger = logger
    self.reloads = reloads
    self.onReady = onReady
  }

  package func run() async throws {
    let loop = try SocketLoop(name: "weir-broker")
    defer { loop.stop() }
    let broker = BrokerService(configuration, on: loop, logger: logger)
    onReady(try await broker.start())
    let reloading = Task { [reloads] in for await _ in reloads { await broker.reload() } }
    defer { reloading.cancel() }
    var failure: JournalError?
    for await error in broker.failures.cancelOnGracefulShutdown() {
      failure = error
      break
    }
    await broker.stop()
    logger.info("stopped")
    if let failure { throw failure }
  }
}
