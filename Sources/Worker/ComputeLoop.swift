import Foundation
package import Wire

/// What the compute thread is told.
package enum ComputeCommand: Sendable, Hashable {
  case start(Assignment)
  /// Stop at the next step boundary; answered with `dropped` unless the task ended first.
  case drop(TaskRef)
  /// Report the state at the next step boundary.
  case checkpoint(TaskRef)
  /// Report the state of everything, stop everything; answered with `drained`. Later starts are ignored.
  case drain
}

/// What the compute thread reports.
package enum ComputeEvent: Sendable, Hashable {
  /// One step was taken by these tasks; milliseconds per sample.
  case stepped([TaskProgress], stepMilliseconds: Double)
  case checkpoint(TaskRef, TaskCheckpoint)
  case finished(TaskResult, steps: UInt32)
  case failed(TaskRef, reason: String, permanent: Bool)
  case dropped(TaskRef)
  case drained
}

/// The thread that owns the engine and steps a batch of tasks of different jobs at different steps.
///
/// Commands take effect between two steps. Nothing else runs on it, so the engine needs no locks.
package final class ComputeLoop: Sendable {
  private let inbox = Inbox()

  package init() {}

  /// Starts the thread, makes the engine on it and returns what the engine computes.
  ///
  /// - Parameters:
  ///   - slots: how many tasks are stepped together; more wait their turn.
  ///   - makeEngine: runs on the compute thread; what it throws is thrown here.
  ///   - report: called on the compute thread, must not block.
  package func start(
    slots: Int, makeEngine: @escaping @Sendable () throws -> any Engine, report: @escaping @Sendable (ComputeEvent) -> Void
  ) async throws -> EngineInfo {
    let inbox = inbox
    return try await withCheckedThrowingContinuation { continuation in
      let thread = Thread {
        Self.run(inbox, slots, makeEngine, report, started: continuation)
        inbox.end()
      }
      thread.name = "weir-compute"
      // Network code recurses through a numerics library; the default of secondary threads is small.
      thread.stackSize = 8 << 20
      thread.start()
    }
  }

  /// The thread's life. The engine's ends with it.
  private static func run(
    _ inbox: Inbox, _ slots: Int, _ makeEngine: () throws -> any Engine, _ report: @escaping (ComputeEvent) -> Void,
    started: CheckedContinuation<EngineInfo, any Error>
  ) {
    let engine: any Engine
    do {
      engine = try makeEngine()
    } catch {
      return started.resume(throwing: error)
    }
    started.resume(returning: engine.info)
    var batch = Batch(engine: engine, slots: slots, report: report)
    while let commands = inbox.take(wait: batch.isIdle) {
      for command in commands { batch.obey(command) }
      batch.step()
    }
  }

  package func post(_ command: ComputeCommand) { inbox.post(command) }

  /// Ends the thread at the next step boundary.
  package func stop() { inbox.close() }

  /// Waits for the end of a thread that was started and stopped. A process that exits in the middle of a step would pull the numerics library
  /// from under it.
  package func join() async {
    await withCheckedContinuation { continuation in inbox.whenEnded { continuation.resume() } }
  }
}

/// Commands on their way to the compute thread.
private final class Inbox: @unchecked Sendable {
  private let condition = NSCondition()
  private var commands: [ComputeCommand] = []
  private var isClosed = false
  private var isEnded = false
  private var endHandlers: [() -> Void] = []

  func post(_ command: ComputeCommand) {
    condition.lock()
    defer { condition.unlock() }
    commands.append(command)
    condition.signal()
  }

  func close() {
    condition.lock()
    defer { condition.unlock() }
    isClosed = true
    condition.signal()
  }

  func end() {
    condition.lock()
    isEnded = true
    let handlers = endHandlers
    endHandlers = []
    condition.unlock()
    for handler in handlers { handler() }
  }

  func whenEnded(_ handler: @escaping () -> Void) {
    condition.lock()
    let isEnded = isEnded
    if !isEnded { endHandlers.append(handler) }
    condition.unlock()
    if isEnded { handler() }
  }

  /// What has come in, waiting for something if asked to; `nil` once closed.
  func take(wait: Bool) -> [ComputeCommand]? {
    condition.lock()
    defer { condition.unlock() }
    while wait, commands.isEmpty, !isClosed { condition.wait() }
    guard !isClosed else { return nil }
    defer { commands = [] }
    return commands
  }
}
