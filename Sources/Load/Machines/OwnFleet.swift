import Foundation
import Glibc
package import LocalFleet
import Wire
import Worker

/// A fleet with the synthetic engine that a load test starts for itself, on this machine or on machines within it.
package struct OwnFleet: Sendable {
  package struct Plan: Sendable {
    /// The folder that holds `weir`, `weir-broker` and `weir-worker`.
    package var executables: String
    /// How many a stage has; stages that are not named have one.
    package var workers: [String: Int]
    package var stepMilliseconds: Double
    package var slots: Int
    package var batching: FleetPlan.Batching
    /// Tasks that a worker is given ahead; `nil`: the worker's own.
    package var prefetch: Int?
    /// 0: all run on this one. Else workers take turns on so many machines, and the broker is on none of them.
    package var machines: Int
    package var link: LinkQuality
    /// Which machine is cut off, counted from 0, and when, in seconds from the first arrival.
    package var cuts: [Cut]
    /// The broker refuses more.
    package var maxOpenTasks: Int
    /// Where the broker's journal lies; `nil`: among temporary files.
    package var data: String?
    package var seed: UInt64

    package init(
      executables: String, workers: [String: Int], stepMilliseconds: Double, slots: Int, batching: FleetPlan.Batching = .step,
      prefetch: Int? = nil, machines: Int, link: LinkQuality, cuts: [Cut], maxOpenTasks: Int = 200_000, data: String?, seed: UInt64
    ) {
      self.executables = executables
      self.workers = workers
      self.stepMilliseconds = stepMilliseconds
      self.slots = slots
      self.batching = batching
      self.prefetch = prefetch
      self.machines = machines
      self.link = link
      self.cuts = cuts
      self.maxOpenTasks = maxOpenTasks
      self.data = data
      self.seed = seed
    }
  }

  package struct Cut: Hashable, Sendable {
    package var machine: Int
    package var from, seconds: Double

    package init(machine: Int, from: Double, seconds: Double) {
      self.machine = machine
      self.from = from
      self.seconds = seconds
    }
  }

  /// The stages that it can have.
  package static let stages = SyntheticEngine.pipeline.stages.map(\.name)
  package static let mostMachines = Machines.most
  package static let mostWorkers = 64

  package let endpoint: String
  package let brokerPID: Int32?
  private let plan: Plan
  private let machines: Machines?

  /// Starts a fleet, runs `body` beside it, and ends it.
  ///
  /// - Parameter log: gets what the processes say.
  package static func with<Result: Sendable>(
    _ plan: Plan, log: @escaping @Sendable (String) -> Void, _ body: (OwnFleet) async throws -> Result
  ) async throws -> Result {
    let data = try Self.folder(in: plan.data ?? FileManager.default.temporaryDirectory.path)
    defer { try? FileManager.default.removeItem(atPath: data) }
    let machines = plan.machines > 0 ? try Machines(plan.machines, plan.link, seed: plan.seed) : nil
    defer { machines?.stop() }
    var local = FleetPlan(
      executables: plan.executables, bind: "tcp://\(machines == nil ? "127.0.0.1" : Machines.hub):0", data: data,
      engine: .synthetic(stepMilliseconds: plan.stepMilliseconds),
      workers: stages.map { FleetPlan.StageWorkers(stages: [$0], count: plan.workers[$0] ?? 1) }, slots: plan.slots, threads: 1,
      isInsecureAllowed: machines != nil)
    local.launchers = (0..<plan.machines).compactMap { machines?.launcher($0) }
    local.batching = plan.batching
    local.prefetch = plan.prefetch
    local.brokerOptions = ["--log-level", "warning", "--max-open-tasks", "\(plan.maxOpenTasks)"]
    let fleet = try LocalFleet(local, log: log)
    let endpoint = try await fleet.start()
    let running = OwnFleet(endpoint: endpoint, brokerPID: await fleet.pids["broker"], plan: plan, machines: machines)
    let result: Result
    do { result = try await body(running) } catch {
      await fleet.stop()
      throw error
    }
    await fleet.stop()
    return result
  }

  private static let prefix = "weir-load-fleet-"

  /// A new folder for a run's journal. What runs that were killed have left behind is removed.
  private static func folder(in parent: String) throws -> String {
    for name in (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? [] where name.hasPrefix(prefix) {
      guard let pid = Int32(name.dropFirst(prefix.count)), kill(pid, 0) != 0, errno == ESRCH else { continue }
      try? FileManager.default.removeItem(atPath: "\(parent)/\(name)")
    }
    let folder = "\(parent)/\(prefix)\(getpid())"
    try? FileManager.default.removeItem(atPath: folder)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    return folder
  }

  /// Cuts machines off and joins them again, at the times of the plan from now on.
  package func cutAsPlanned() async throws {
    let start = ContinuousClock.now
    var changes: [(time: Double, machine: Int, isCut: Bool)] = []
    for cut in plan.cuts { changes += [(cut.from, cut.machine, true), (cut.from + cut.seconds, cut.machine, false)] }
    for change in changes.sorted(by: { $0.time < $1.time }) {
      try await Task.sleep(until: start + .seconds(change.time))
      machines?.cut(change.machine, change.isCut)
    }
  }
}

extension OwnFleet.Plan {
  /// Images a second that its slowest stage would make if its workers never waited: a worker takes a step for all of its slots at once.
  ///
  /// - Parameter steps: of stages by name; others take the pipeline's.
  package func idealPerSecond(steps: [String: UInt32]) -> Double {
    SyntheticEngine.pipeline.stages.map { stage in
      let milliseconds = Double(steps[stage.name] ?? stage.defaultSteps) * stepMilliseconds
      return milliseconds == 0 ? .infinity : Double((workers[stage.name] ?? 1) * slots) * 1_000 / milliseconds
    }.min() ?? 0
  }

  /// Milliseconds that the steps of a sample take in all stages, if each begins as the one before ends.
  ///
  /// - Parameter steps: of stages by name; others take the pipeline's.
  package func computeMilliseconds(steps: [String: UInt32]) -> Double {
    SyntheticEngine.pipeline.stages.reduce(0) { $0 + Double(steps[$1.name] ?? $1.defaultSteps) * stepMilliseconds }
  }
}
