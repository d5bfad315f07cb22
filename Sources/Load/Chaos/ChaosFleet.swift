import Broker
import Client
import Foundation
import Glibc
import LocalFleet
import Wire
import Worker

/// A fleet of real processes that a scenario mistreats, and what it ought to deliver.
final class ChaosFleet: Sendable {
  struct Shape: Sendable {
    /// Workers a stage.
    var perStage = 1
    var stepMilliseconds = 5.0
    var slots = 4
    var deadMilliseconds = 2_000
    var checkpointMilliseconds = 200
    var brokerOptions: [String] = []
  }

  let shape: Shape
  let stages: [String]
  private let folder: String
  private let fleet: LocalFleet
  let endpoint: String
  let client: WeirClient

  /// Starts a fleet, runs `body` beside it, stops it, and looks at what is left on its disk.
  static func with<Result: Sendable>(
    _ settings: Chaos.Settings, _ shape: Shape, _ body: @Sendable (ChaosFleet) async throws -> Result
  ) async throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appending(path: "weir-chaos-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let fleet = try await ChaosFleet(settings, shape, folder)
    let result: Result
    do {
      result = try await body(fleet)
    } catch {
      await fleet.stop()
      throw error
    }
    await fleet.stop()
    return result
  }

  private init(_ settings: Chaos.Settings, _ shape: Shape, _ folder: String) async throws {
    // The crash handler of Swift's runtime can hang where the signal comes from outside; these processes have to die of it.
    setenv("SWIFT_BACKTRACE", "enable=no", 1)
    self.shape = shape
    self.folder = folder
    stages = SyntheticEngine.pipeline.stages.map(\.name)
    var plan = FleetPlan(
      executables: settings.executables, bind: "tcp://127.0.0.1:0", data: "\(folder)/data",
      engine: .synthetic(stepMilliseconds: shape.stepMilliseconds),
      workers: stages.map { FleetPlan.StageWorkers(stages: [$0], count: shape.perStage) }, slots: shape.slots)
    plan.brokerOptions =
      [
        "--beat-ms", "200", "--dead-ms", "\(shape.deadMilliseconds)", "--checkpoint-ms", "\(shape.checkpointMilliseconds)",
        "--log-level", "error",
      ] + shape.brokerOptions
    plan.restartPolicy = RestartPolicy(shortest: .milliseconds(50), longest: .milliseconds(200))
    fleet = try LocalFleet(plan, log: settings.log)
    endpoint = try await fleet.start()
    client = try Self.client(endpoint)
  }

  static func client(_ endpoint: String) throws -> WeirClient {
    try WeirClient(
      broker: endpoint,
      options: .init(
        resendAfter: .milliseconds(500), patience: .seconds(120), waitPatience: .seconds(300), watchSilence: .milliseconds(500)))
  }

  private func stop() async {
    // A stopped process cannot end in order.
    for name in processes { await fleet.signal(name, SIGCONT) }
    await client.close()
    await fleet.stop()
  }

  // MARK: Processes

  var workers: [String] { stages.flatMap { stage in (1...shape.perStage).map { "\(stage)-\($0)" } } }
  var processes: [String] { ["broker"] + workers }

  @discardableResult
  func signal(_ name: String, _ signal: Int32) async -> Bool { await fleet.signal(name, signal) }

  /// `nil` while it does not run.
  func pid(_ name: String) async -> Int32? { await fleet.pids[name] }

  /// Resident memory of the broker, in MiB.
  func brokerMemory() async -> Double {
    guard let pid = await fleet.pids["broker"] else { return 0 }
    return Double(ResidentMemory.now(of: "\(pid)") ?? 0) / 0x1p20
  }

  // MARK: Jobs

  /// A job of a few images, which differ with `number`.
  func submission(_ number: Int, samples: UInt32 = 3, steps: [UInt32]) -> Submission {
    Submission(
      runs: [SampleRun(label: "class-\(number % 12)", seed: UInt64(number) * 1_000, count: samples)],
      options: zip(stages, steps).map { StageOptions(stage: $0, steps: $1) }, key: "chaos-\(number)")
  }

  func finished(_ job: JobID) async throws -> JobStatus {
    var last: JobStatus?
    for try await status in client.watch(job) { last = status }
    guard let last else { throw Broken("the watch of job \(job) ended without a state") }
    return last
  }

  /// Waits for a job's end, fetches all of its images, and compares each byte with the oracle's.
  ///
  /// - Returns: how many images that were.
  @discardableResult
  func verify(_ job: JobID, of submission: Submission) async throws -> Int {
    let status = try await finished(job)
    try expect(status.state == .done, "job \(job) is \(status.state): \(status.details.compactMap(\.error).first ?? "")")
    var sample: UInt32 = 0
    for run in submission.runs {
      let label = UInt32(SyntheticEngine.pipeline.labels.firstIndex(of: run.label) ?? 0)
      for offset in 0..<UInt64(run.count) {
        let image = try await client.fetch(job, sample: sample)
        let expected = try SyntheticEngine.reference(label: label, seed: run.seed &+ offset, options: submission.options)
        try expect(image.tensor == expected, "image \(sample) of job \(job) is not what the oracle says")
        sample += 1
      }
    }
    try expect(status.samples == sample, "job \(job) has \(status.samples) samples, not \(sample)")
    return Int(sample)
  }

  /// The first state of a job that fits.
  func wait(for job: JobID, _ what: String, _ fits: (JobStatus) -> Bool) async throws -> JobStatus {
    for try await status in client.watch(job) where fits(status) { return status }
    throw Broken("job \(job) ended before \(what)")
  }

  /// The broker remembers each acknowledged job, as done, and among the newest, of which it lists some hundreds, there is no other.
  func expectJobs(_ jobs: Set<JobID>) async throws {
    let known = try await client.jobs(limit: 1_000).map(\.job)
    try expect(
      Set(known).isSubset(of: jobs) && Set(known).count == known.count, "the broker knows a job that nobody submitted, or one twice")
    for job in jobs.sorted() {
      let state = try await client.status(of: job).state
      try expect(state == .done, "job \(job) was acknowledged and done, and is \(state)")
    }
  }
}

extension JobStatus {
  func stage(_ name: String) -> StageStatus? { stages.first { $0.stage == name } }
}
