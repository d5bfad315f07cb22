package import Logging
package import ZeroMQ

/// A broker on its sockets and its journal. It lives on a loop, which the owner stops after it.
package actor BrokerService {
  /// Where a broker listens, with real ports.
  package struct Endpoints: Hashable, Sendable {
    package var clients: String
    package var workers: String
  }

  /// What it did that nobody asked for.
  package struct Counters: Hashable, Sendable {
    /// Messages that could not be read.
    package var garbage = 0
    /// Replies dropped because their client doesn't read.
    package var droppedReplies = 0
    /// Of replies with images, and those that had to wait: sent, and not in the kernel's hands yet.
    package var bytesToClients = 0
  }

  private let configuration: BrokerConfiguration
  private let loop: SocketLoop
  private let logger: Logger
  private var engine: BrokerEngine?
  private let failure: AsyncStream<JournalError>.Continuation
  /// Has one element if the journal cannot be written any more: the broker has stopped acknowledging and must be stopped.
  package nonisolated let failures: AsyncStream<JournalError>

  package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  package init(_ configuration: BrokerConfiguration, on loop: SocketLoop, logger: Logger) {
    self.configuration = configuration
    self.loop = loop
    self.logger = logger
    (failures, failure) = AsyncStream.makeStream()
  }

  /// Opens the journal, takes up what is in it, and listens.
  ///
  /// - Throws: `BrokerError`, `JournalError` or `ZeroMQError`.
  package func start() throws -> Endpoints {
    let failure = failure
    let engine = try BrokerEngine(configuration, on: loop, logger: logger) { failure.yield($0) }
    self.engine = engine
    return engine.endpoints
  }

  /// Sends what is still to be sent, and closes sockets and journal.
  package func stop() {
    engine?.stop()
    engine = nil
    failure.finish()
  }

  /// Reads the access list again, if the broker works with keys.
  package func reload() { engine?.reload() }

  package var counters: Counters { engine?.counters ?? Counters() }
}
