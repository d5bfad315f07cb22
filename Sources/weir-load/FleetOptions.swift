import ArgumentParser
import Foundation
import Load
import LocalFleet

/// A fleet that is started for a run.
struct FleetOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Start a fleet with the synthetic engine for the run: workers a stage, base32=1,sr64=2; stages not named have one.", valueName: "list"
    ))
  var workers: String?

  @Option(help: ArgumentHelp("How long a step of these workers takes.", valueName: "ms"))
  var stepMs = 5.0

  @Option(help: "Tasks that one of these workers computes together.")
  var slots = 4

  @Option(help: "Tasks join others that are computed at every step, or, to compare with, only when all of those have ended.")
  var batching = FleetPlan.Batching.step

  @Option(help: "Tasks that one of these workers is given ahead of those. (default: the worker's own)")
  var prefetch: Int?

  @Option(help: "Machines within this one that they take turns on, 1 to 3: network namespaces. (default: none)")
  var machines = 0

  @Option(help: ArgumentHelp("The network between the broker and each machine: delay=5ms,rate=1gbit,loss=0.1%.", valueName: "list"))
  var link: String?

  @Option(help: ArgumentHelp("Cut a machine off: 2@10+5 is the second, from second 10 on, for 5 seconds.", valueName: "when"))
  var cut: [String] = []

  @Option(help: "Tasks that this fleet's broker takes at a time, before it refuses more.")
  var maxOpenTasks = 200_000

  @Option(help: ArgumentHelp("Where this fleet's broker has its journal; default: among temporary files.", valueName: "folder"))
  var data: String?

  func validate() throws {
    guard workers != nil || (machines == 0 && link == nil && cut.isEmpty && data == nil) else {
      throw ValidationError("--machines, --link, --cut and --data are about a fleet that --workers starts: name its workers.")
    }
    guard (0...OwnFleet.mostMachines).contains(machines) else {
      throw ValidationError("--machines \(machines): give 1 to \(OwnFleet.mostMachines).")
    }
    guard machines > 0 || (link == nil && cut.isEmpty) else { throw ValidationError("--link and --cut need --machines.") }
    guard (0...256).contains(prefetch ?? 0) else { throw ValidationError("--prefetch \(prefetch ?? 0): give 0 to 256.") }
    guard maxOpenTasks >= 1 else { throw ValidationError("--max-open-tasks \(maxOpenTasks): give at least 1.") }
    guard (1...256).contains(slots) else { throw ValidationError("--slots \(slots): give 1 to 256.") }
    guard (0...3_600_000).contains(stepMs) else { throw ValidationError("--step-ms \(stepMs): give 0 to 3600000.") }
    _ = try plan(seed: 0)
  }

  /// `nil`: a fleet runs already.
  func plan(seed: UInt64) throws -> OwnFleet.Plan? {
    guard let workers else { return nil }
    var counts: [String: Int] = [:]
    for item in workers.split(separator: ",", omittingEmptySubsequences: false) {
      let parts = item.split(separator: "=").map(String.init)
      guard parts.count == 2, OwnFleet.stages.contains(parts[0]), let count = Int(parts[1]), count >= 1 else {
        throw ValidationError(
          "--workers \(item): write it like base32=1,sr64=2; the stages are \(OwnFleet.stages.joined(separator: ", ")).")
      }
      counts[parts[0]] = count
    }
    let all = OwnFleet.stages.reduce(0) { $0 + (counts[$1] ?? 1) }
    guard all <= OwnFleet.mostWorkers else { throw ValidationError("--workers: \(all) are too many; give up to \(OwnFleet.mostWorkers).") }
    let quality: LinkQuality
    do { quality = try link.map { text in try LinkQuality(text) } ?? LinkQuality() } catch { throw ValidationError("--link: \(error)") }
    return OwnFleet.Plan(
      executables: try ProgramFolder.path(), workers: counts, stepMilliseconds: stepMs, slots: slots, batching: batching,
      prefetch: prefetch, machines: machines, link: quality, cuts: try cut.map(cut(_:)), maxOpenTasks: maxOpenTasks, data: data, seed: seed)
  }

  private func cut(_ text: String) throws -> OwnFleet.Cut {
    let parts = text.split(separator: "@").map(String.init)
    let times = parts.count == 2 ? parts[1].split(separator: "+").map { Double($0) } : []
    guard let machine = parts.first.flatMap({ Int($0) }), (1...max(1, machines)).contains(machine), times.count == 2, let from = times[0],
      let seconds = times[1], from >= 0, seconds > 0
    else { throw ValidationError("--cut \(text): write it like 2@10+5, for one of \(machines) machines.") }
    return OwnFleet.Cut(machine: machine - 1, from: from, seconds: seconds)
  }
}

extension FleetPlan.Batching: ExpressibleByArgument {}
