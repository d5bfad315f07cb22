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
  /// One step was taken by these tasks; milliseconds per sample and pass through the network.
  case stepped([TaskProgress], stepMilliseconds: Double)
  case checkpoint(TaskRef, TaskCheckpoint)
  case finished(TaskResult, steps: UInt32)
  case failed(TaskRef, reason: String, permanent: Bool)
  case dropped(TaskRef)
  case drained
}

/// The thread that owns a worker's engines and steps their batches: tasks of different jobs at different steps, each stage in a batch of its own.
///
/// Commands take effect between two steps. Nothing else runs on it, so engines need no locks.
package final class ComputeLoop: Sendable {
  package typealias EngineMaker = @Sendable () throws -> any Engine

  private let inbox = Inbox()

  package init() {}

  /// Starts the thread, makes the engines on it and returns what they compute.
  ///
  /// - Parameters:
  ///   - slots: how many tasks of a stage are stepped together, more wait their turn; `nil`: as many as each engine asks for.
  ///   - batching: when those that wait get the slots that are free.
  ///   - makeEngines: one for each stage; they run on the compute thread, and what one throws is thrown here.
  ///   - report: called with the stage's index in `makeEngines`, on the compute thread or, of results, on one beside it; must not block.
  package func start(
    slots: Int?, batching: Batching = .step, makeEngines: [EngineMaker],
    report: @escaping @Sendable (_ stage: Int, ComputeEvent) -> Void
  ) async throws -> [EngineInfo] {
    inbox.open(stages: makeEngines.count)
    let inbox = inbox
    return try await withCheckedThrowingContinuation { continuation in
      let thread = Thread {
        Self.run(inbox, slots, batching, makeEngines, report, started: continuation)
        inbox.end()
      }
      thread.name = "weir-compute"
      // Network code recurses through a numerics library; the default of secondary threads is small.
      thread.stackSize = 8 << 20
      thread.start()
    }
  }

  /// The thread's life. The engines' ends with it.
  private static func run(
    _ inbox: Inbox, _ slots: Int?, _ batching: Batching, _ makeEngines: [EngineMaker],
    _ report: @escaping (Int, ComputeEvent) -> Void, started: CheckedContinuation<[EngineInfo], any Error>
  ) {
    let engines: [any Engine]
    do {
      engines = try makeEngines.map { try $0() }
    } catch {
      return started.resume(throwing: error)
    }
    started.resume(returning: engines.map(\.info))
    let results = ResultThread()
    // A process that exits would pull the ground from under it.
    defer { results.wait() }
    var batches = engines.enumerated().map { index, engine in
      Batch(engine: engine, slots: slots ?? engine.info.slots, batching: batching, results: results) { report(index, $0) }
    }
    var turns = StageTurns(stages: batches.count)
    while let commands = inbox.take(wait: batches.allSatisfy(\.isIdle)) {
      for (stage, command) in commands { batches[stage].obey(command) }
      if let next = turns.next(batches.map(\.load)) { batches[next].step() }
    }
  }

  /// - Parameter stage: its index among the engines.
  package func post(_ command: ComputeCommand, to stage: Int = 0) { inbox.post(command, to: stage) }

  /// A stage has no more use for the thread. When none has, it ends at the next step boundary.
  ///
  /// - Returns: whether this was the last.
  @discardableResult
  package func leave() -> Bool { inbox.leave() }

  /// Waits for the end of a thread that was started and that all have left. A process that exits in the middle of a step would pull the
  /// numerics library from under it.
  package func join() async {
    await withCheckedContinuation { continuation in inbox.whenEnded { continuation.resume() } }
  }
}

/// Commands on their way to the compute thread.
private final class Inbox: @unchecked Sendable {
  private let condition = NSCondition()
  private var commands: [(stage: Int, command: ComputeCommand)] = []
  /// Stages that still use the thread.
  private var users = 0
  private var isEnded = false
  private var endHandlers: [() -> Void] = []

  func open(stages: Int) {
    condition.lock()
    defer { condition.unlock() }
    users = stages
  }

  func post(_ command: ComputeCommand, to stage: Int) {
    condition.lock()
    defer { condition.unlock() }
    commands.append((stage, command))
    condition.signal()
  }

  /// Whether that was the last.
  func leave() -> Bool {
    condition.lock()
    defer { condition.unlock() }
    users -= 1
    condition.signal()
    return users == 0
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

  /// What has come in, waiting for something if asked to; `nil` once nobody uses the thread.
  func take(wait: Bool) -> [(stage: Int, command: ComputeCommand)]? {
    condition.lock()
    defer { condition.unlock() }
    while wait, commands.isEmpty, users > 0 { condition.wait() }
    guard users > 0 else { return nil }
    defer { commands = [] }
    return commands
  }
}
