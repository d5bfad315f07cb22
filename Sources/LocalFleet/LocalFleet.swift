import Foundation
import Glibc

/// A broker and its workers as processes of this machine, kept running until `stop`. They end with this process, too.
package actor LocalFleet {
  package let plan: FleetPlan
  private let runner: String
  private let log: @Sendable (String) -> Void
  private let broker: ChildProcess
  private var workers: [ChildProcess] = []
  /// `stop` was called, or `start` failed.
  package private(set) var isStopping = false

  /// How long workers may take to hand back what they work on, and the broker to close its journal.
  package static let grace = Duration.seconds(20)

  /// - Parameter log: Gets the processes' output, line by line, marked with their names.
  package init(_ plan: FleetPlan, log: @escaping @Sendable (String) -> Void) throws(FleetError) {
    self.plan = plan
    self.log = log
    runner = "\(plan.executables)/weir"
    for program in [runner, plan.brokerExecutable, plan.workerExecutable] {
      guard FileManager.default.isExecutableFile(atPath: program) else {
        throw FleetError(.missing, "'\(program)' is missing: the programs weir, weir-broker and weir-worker belong into one folder")
      }
    }
    broker = ChildProcess(plan.broker(at: plan.bind), runner: runner, policy: plan.restartPolicy, log: log)
  }

  /// Starts the broker, then the workers. Returns when the broker has welcomed them all; if one can't start, all are stopped.
  ///
  /// - Returns: The broker's endpoint, with its real port.
  @discardableResult
  package func start() async throws(FleetError) -> String {
    do throws(FleetError) {
      await broker.start()
      let readyLine = try await broker.waitUntilReady()
      let endpoint = FleetPlan.field("clients", of: readyLine) ?? plan.bind
      // Started again, it has to be found where it was.
      await broker.setArguments(plan.broker(at: endpoint, workers: FleetPlan.field("workers", of: readyLine)).arguments)
      // A stop may have come meanwhile.
      if !isStopping {
        workers = plan.workerCommands(broker: endpoint).map { ChildProcess($0, runner: runner, policy: plan.restartPolicy, log: log) }
      }
      for worker in workers { await worker.start() }
      for worker in workers { try await worker.waitUntilReady() }
      if isStopping { throw FleetError(.stopped, "the fleet was stopped before it was ready") }
      return endpoint
    } catch {
      await stop()
      throw error
    }
  }

  /// Has the workers hand back their work, then ends the broker.
  package func stop() async {
    isStopping = true
    await withTaskGroup { group in
      for worker in workers { group.addTask { await worker.stop(grace: Self.grace) } }
    }
    await broker.stop(grace: Self.grace)
  }

  /// Sends a signal to a process, if it runs now.
  ///
  /// - Returns: false if it doesn't.
  @discardableResult
  package func signal(_ name: String, _ signal: Int32) async -> Bool {
    guard let child = ([broker] + workers).first(where: { $0.name == name }), let pid = await child.pid else { return false }
    return kill(pid, signal) == 0
  }

  /// The processes that run now, by name: `broker`, `base32-1`, …
  package var pids: [String: Int32] {
    get async {
      var pids: [String: Int32] = [:]
      for child in [broker] + workers { pids[child.name] = await child.pid }
      return pids
    }
  }
}
