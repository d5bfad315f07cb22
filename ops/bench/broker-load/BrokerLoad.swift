import ArgumentParser
import Foundation
import Wire
import ZeroMQ

/// Plays clients and workers to one broker: jobs of one stage whose steps take no time. What it measures is the broker.
@main
struct BrokerLoad: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "broker-load", abstract: "Keeps a broker busy with tasks that take no time, and prints what the broker managed.")

  @Option(help: "Where the broker's clients connect.")
  var clients: String

  @Option(help: "Where its workers connect.")
  var workers: String

  @Option(help: "The broker's process, whose processor time and memory are reported.")
  var pid: Int32

  @Option(help: "Tasks to be finished before measuring begins.")
  var warmUp = 5_000

  @Option(help: "Tasks to be finished.")
  var tasks = 100_000

  @Option(help: "Samples of a job. A sample is one task.")
  var samplesPerJob = 16

  @Option(help: "Samples submitted and not finished, at a time.")
  var open = 8_192

  @Option(help: "Workers, each on its own connection.")
  var workerCount = 4

  @Option(help: "Tasks a worker holds at a time.")
  var slots: UInt32 = 1_024

  @Option(help: "Width and height of the outputs, which are three planes of f32.")
  var resolution: UInt32 = 8

  @Option(help: "Instead of all that, submit so many jobs that no worker takes, and print what they take of the broker's memory.")
  var queue = 0

  func validate() throws {
    guard warmUp >= 0, tasks > 0, samplesPerJob > 0, open > 0, workerCount > 0, slots > 0, resolution > 0 else {
      throw ValidationError("every number has to be above 0")
    }
  }

  func run() async throws {
    let loop = try SocketLoop(name: "broker-load")
    defer { loop.stop() }
    let load = try Load(self, on: loop)
    let empty = try Usage(process: pid).residentMegabytes
    try await load.start()
    if queue > 0 {
      await load.finished(queue)
      let full = try Usage(process: pid).residentMegabytes
      await load.stop()
      return try report(["jobs": Double(queue), "broker_rss_mb": full, "broker_rss_mb_empty": empty])
    }
    await load.finished(warmUp)
    let before = (broker: try Usage(process: pid), load: try Usage(process: getpid()), time: ContinuousClock.now)
    let begun = await load.done
    await load.finished(begun + tasks)
    let count = Double(await load.done - begun)
    let seconds = (ContinuousClock.now - before.time) / .seconds(1)
    let broker = try Usage(process: pid)
    let brokerCPU = broker.cpuSeconds - before.broker.cpuSeconds
    let loadCPU = try Usage(process: getpid()).cpuSeconds - before.load.cpuSeconds
    let refused = Double(await load.refused)
    await load.stop()
    try report([
      "tasks": count, "seconds": seconds, "tasks_per_s": count / seconds, "broker_cpu_us_per_task": brokerCPU / count * 1e6,
      "load_cpu_us_per_task": loadCPU / count * 1e6, "tasks_per_broker_cpu_s": count / brokerCPU, "broker_rss_mb": broker.residentMegabytes,
      "refused": refused,
    ])
  }

  private func report(_ values: [String: Double]) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    print(String(decoding: try encoder.encode(values.mapValues { ($0 * 10).rounded() / 10 }), as: UTF8.self))
  }
}

/// What a process has used so far.
struct Usage {
  var cpuSeconds: Double
  var residentMegabytes: Double

  init(process: Int32) throws {
    // The name, in parentheses, may have spaces in it.
    let stat = try String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)
    let fields = stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].split(separator: " ")
    guard fields.count > 21, let user = Double(fields[12]), let system = Double(fields[13]), let pages = Double(fields[22]) else {
      throw ValidationError("/proc/\(process)/stat is not what it was")
    }
    cpuSeconds = (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    residentMegabytes = pages * Double(sysconf(Int32(_SC_PAGESIZE))) / 1e6
  }
}
