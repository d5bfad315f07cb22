import CLinuxShims
import Client
import Foundation
import Glibc
import SeededRandom
import Wire

// What a machine can run out of: disk space, file descriptors, a disk that takes writes, a clock that goes forward.

func diskFull(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(deadMilliseconds: 1_000, diskMebibytes: 768)) { fleet in
    let disk = try fleet.smallDisk()
    let broker = try await fleet.runningBroker()
    var random = SplitMix64(seed: settings.seed)
    let pauses = (0..<3).map { _ in Int.random(in: 300...900, using: &random) }
    let report = try await fleet.loaded(steps: [30, 20, 10], concurrency: 3) { load in
      for pause in pauses {
        try await Task.sleep(for: .milliseconds(pause))
        try disk.fill()
        try await fleet.goesOnWithoutDisk(load)
        disk.free()
        try await load.waitUntilAccepted()
      }
    }
    try expect(try await fleet.runningBroker() == broker, "the broker ended for want of space")
    try expect(report.repeats == 0, "\(report.repeats) running tasks did not survive the want of space")
    // Started on a full disk it may fail, but not for ever.
    let submission = fleet.submission(1_000_000, samples: 2, steps: [100, 2, 2])
    let job = try await fleet.client.submit(submission).job
    try disk.fill()
    await fleet.signal("broker", SIGKILL)
    try await Task.sleep(for: .seconds(1))
    disk.free()
    try await fleet.verify(job, of: submission)
    return ["images": Double(report.images), "refusals": Double(report.refusals)]
  }
}

func readOnly(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(deadMilliseconds: 1_000, diskMebibytes: 768)) { fleet in
    let disk = try fleet.smallDisk()
    let broker = try await fleet.runningBroker()
    let executables = settings.executables
    let report = try await fleet.loaded(steps: [30, 20, 10], concurrency: 3) { load in
      try await Task.sleep(for: .milliseconds(300))
      // As after an error of the disk, when the kernel lets nobody write any more: where files are open, nobody can ask it for that.
      try await CallTrap(broker, at: .change, effect: .refuse(errno: EROFS)).hold(executables) { try await fleet.goesOnWithoutDisk(load) }
      try await load.waitUntilAccepted()
    }
    try expect(try await fleet.runningBroker() == broker, "the broker ended because its disk was read-only")
    try expect(report.repeats == 0, "\(report.repeats) running tasks did not survive a read-only disk")
    // Nothing can be opened for writing when it starts.
    let submission = fleet.submission(1_000_000, samples: 2, steps: [100, 2, 2])
    let job = try await fleet.client.submit(submission).job
    repeat { await fleet.signal("broker", SIGKILL) } while !disk.makeReadOnly()
    try await Task.sleep(for: .seconds(1))
    try disk.makeWritable()
    try await fleet.verify(job, of: submission)
    return ["images": Double(report.images), "refusals": Double(report.refusals)]
  }
}

extension ChaosFleet {
  /// Nothing can be written: new jobs are refused and told why and until when, workers are kept, and questions are answered, for longer than a
  /// worker may be silent.
  fileprivate func goesOnWithoutDisk(_ load: BackgroundLoad) async throws {
    let refusal = try await load.waitUntilRefused()
    try expect(
      refusal.code == .overloaded && refusal.retryAfterMilliseconds != nil && refusal.reason.contains("disk"),
      "nothing can be written, and a new job is refused with: \(refusal)")
    for _ in 0..<8 {
      try await Task.sleep(for: .milliseconds(250))
      let known = try await client.workers()
      try expect(known.count == workers.count, "while nothing can be written the broker knows \(known.count) workers")
      _ = try await client.jobs(limit: 10)
    }
  }
}

func filesExhausted(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(deadMilliseconds: 1_000)) { fleet in
    let broker = try await fleet.runningBroker()
    let report = try await fleet.loaded(steps: [10, 6, 4], concurrency: 3) { load in
      for round in 0..<3 {
        try await Task.sleep(for: .milliseconds(300))
        let limit = CLinuxShims_limit_files(broker, openFiles(of: broker) + 4)
        guard limit > 0 else { throw Broken("the broker's files cannot be limited: \(String(cString: strerror(errno)))") }
        let burst = try Burst(fleet.endpoint, connections: 64)
        // Who comes now does not get in, and learns it; who is in is served.
        let late = try ChaosFleet.client(fleet.endpoint, patience: .seconds(1))
        var outcome = "an answer"
        do throws(ClientError) { _ = try await late.jobs() } catch { outcome = error.code == .unreachable ? "" : "\(error)" }
        let before = await load.images
        try await Task.sleep(for: .seconds(2))
        let after = await load.images
        CLinuxShims_limit_files(broker, limit)
        burst.close()
        try expect(outcome.isEmpty, "the broker had no file descriptors left in round \(round), and a new client got \(outcome)")
        try expect(after > before, "while the broker had no file descriptors left its old clients got nothing")
        let patient = try ChaosFleet.client(fleet.endpoint)
        _ = try await patient.jobs()
        await patient.close()
        await late.close()
      }
    }
    try expect(try await fleet.runningBroker() == broker, "the broker ended for want of file descriptors")
    try expect(report.repeats == 0, "\(report.repeats) running tasks did not survive the want of file descriptors")
    return ["images": Double(report.images)]
  }
}

private func openFiles(of process: Int32) -> Int {
  (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd").count) ?? 0
}

/// Connections that say nothing.
private struct Burst {
  private let sockets: [Int32]

  init(_ endpoint: String, connections: Int) throws {
    guard let port = endpoint.split(separator: ":").last.flatMap({ UInt16($0) }) else { throw Broken("\(endpoint) has no port") }
    sockets = (0..<connections).map { _ in
      let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      _ = FaultyNetwork.withAddress("127.0.0.1", port) { connect(descriptor, $0, $1) }
      return descriptor
    }
  }

  func close() { for socket in sockets { Glibc.close(socket) } }
}

func clockJumps(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let hour: Int64 = 3_600
  return try await ChaosFleet.with(settings, .init(deadMilliseconds: 1_000, hasOwnClock: true)) { fleet in
    let clock = try fleet.wallClock()
    let broker = try await fleet.runningBroker()
    let report = try await fleet.loaded(steps: [20, 15, 10], concurrency: 3) { load in
      // Its deadline is a length of time, whatever the clock shows.
      var urgent = fleet.submission(1_000_000, samples: 2, steps: [1_000, 2, 2])
      urgent.deadlineMilliseconds = 600_000
      let job = try await fleet.client.submit(urgent).job
      await load.adopt(job)
      for offset in [hour, 0, -hour, 0, -hour, hour, 0] {
        try clock.jump(to: offset)
        let before = Int64(time(nil))
        let shown = try await fleet.client.status(of: try await load.submitted()).submittedUnixMilliseconds
        let error = Int64(shown / 1_000) - before - offset
        try expect(abs(error) <= 60, "the broker's clock does not jump: it is \(error) s off")
        try await Task.sleep(for: .milliseconds(1_500))
      }
      try await fleet.verify(job, of: urgent)
    }
    try expect(try await fleet.runningBroker() == broker, "the broker ended when its clock jumped")
    try expect(report.repeats == 0, "\(report.repeats) tasks lost their leases to a clock")
    // A broker that starts in another hour than it ended in.
    for offset in [hour, -hour] {
      let submission = fleet.submission(Int(2_000_000 + offset), samples: 2, steps: [100, 2, 2])
      let job = try await fleet.client.submit(submission).job
      try clock.jump(to: offset)
      await fleet.signal("broker", SIGKILL)
      try await fleet.verify(job, of: submission)
    }
    return ["images": Double(report.images)]
  }
}
