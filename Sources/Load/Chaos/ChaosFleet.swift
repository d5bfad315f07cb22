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
    /// Of each worker; `nil`: one a core.
    var threads: Int?
    var deadMilliseconds = 2_000
    var checkpointMilliseconds = 200
    var brokerOptions: [String] = []
  }

  let shape: Shape
  let stages: [String]
  let oracle: ImageOracle
  private let settings: Chaos.Settings
  private let folder: String
  private let fleet: LocalFleet
  private let rehearsals = Rehearsals()
  let endpoint: String
  let client: WeirClient

  /// Starts a fleet, runs `body` beside it, stops it, and looks at what is left on its disk.
  ///
  /// - Parameter oracle: one that knows from other fleets what this one has to deliver.
  static func with<Result: Sendable>(
    _ settings: Chaos.Settings, _ shape: Shape, _ oracle: ImageOracle? = nil, _ body: @Sendable (ChaosFleet) async throws -> Result
  ) async throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appending(path: "weir-chaos-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let fleet = try await ChaosFleet(settings, shape, oracle ?? ImageOracle(settings.engine), folder)
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

  private init(_ settings: Chaos.Settings, _ shape: Shape, _ oracle: ImageOracle, _ folder: String) async throws {
    // The crash handler of Swift's runtime can hang where the signal comes from outside; these processes have to die of it.
    setenv("SWIFT_BACKTRACE", "enable=no", 1)
    self.settings = settings
    self.shape = shape
    self.oracle = oracle
    self.folder = folder
    let engine: FleetPlan.Engine
    switch settings.engine {
    case .synthetic:
      stages = SyntheticEngine.pipeline.stages.map(\.name)
      engine = .synthetic(stepMilliseconds: shape.stepMilliseconds)
    case .cascade(let pipeline):
      stages = try pipelineStages(pipeline)
      engine = .cascade(pipeline: pipeline)
    }
    var plan = FleetPlan(
      executables: settings.executables, bind: "tcp://127.0.0.1:0", data: "\(folder)/data", engine: engine,
      workers: stages.map { FleetPlan.StageWorkers(stages: [$0], count: shape.perStage) }, slots: shape.slots, threads: shape.threads)
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

  /// Starts a worker of the synthetic engine that may lie, beside the fleet's own.
  func startLiar(_ lie: LyingEngine.Lie, stage: String, name: String, stepMilliseconds: Double) throws -> Companion {
    try Companion(
      settings, "weir-load",
      [
        "lying-worker", "--stage", stage, "--broker", endpoint, "--name", name, "--step-ms", "\(stepMilliseconds)", "--slots",
        "\(shape.slots)", "--lie", lie.rawValue,
      ])
  }

  // MARK: Jobs

  /// Steps of each stage: so many of the synthetic engine's, or a few of networks, which take longer.
  func steps(_ synthetic: [UInt32], cascade: [UInt32]) -> [UInt32] { settings.engine == .synthetic ? synthetic : cascade }

  /// No step of this fleet takes less time.
  var leastStepMilliseconds: Double { settings.engine == .synthetic ? shape.stepMilliseconds : 20 }

  /// How many images there are that differ.
  private var variety: Int { settings.engine == .synthetic ? .max : 3 }

  /// Labels that are used, by number.
  var labels: UInt64 { settings.engine == .synthetic ? 12 : 2 }

  func options(_ steps: [UInt32]) -> [StageOptions] { zip(stages, steps).map { StageOptions(stage: $0, steps: $1) } }

  /// A job of a few images, which differ with `number`.
  func submission(_ number: Int, samples: UInt32 = 3, steps: [UInt32]) -> Submission {
    let image = number % variety
    return Submission(
      runs: [SampleRun(label: "\(UInt64(image) % labels)", seed: UInt64(image) * 1_000, count: samples)], options: options(steps),
      key: "chaos-\(number)")
  }

  /// Has the fleet make, while it is at rest and one at a time, all the images that jobs like this one will ask for, unless they can be known
  /// without.
  func rehearse(samples: UInt32 = 3, steps: [UInt32]) async throws {
    if settings.engine == .synthetic { return }
    for number in 0..<variety { try await rehearse(submission(number, samples: samples, steps: steps)) }
  }

  func rehearse(_ submission: Submission) async throws {
    for sample in ImageOracle.samples(of: submission) where await !oracle.knows(sample) {
      let alone = Submission(
        runs: [SampleRun(label: sample.label, seed: sample.seed)], options: sample.options, key: WeirClient.randomKey())
      let job = try await client.submit(alone).job
      let status = try await finished(job)
      try expect(status.state == .done, "job \(job) of a fleet at rest is \(status.state)")
      await oracle.learn(sample, try await client.fetch(job, sample: 0).tensor)
      await rehearsals.insert(job)
    }
  }

  func finished(_ job: JobID) async throws -> JobStatus {
    var last: JobStatus?
    for try await status in client.watch(job) { last = status }
    guard let last else { throw Broken("the watch of job \(job) ended without a state") }
    return last
  }

  /// Waits for a job's end, fetches all of its images, and compares each byte with what the oracle says.
  ///
  /// - Returns: how many images that were.
  @discardableResult
  func verify(_ job: JobID, of submission: Submission) async throws -> Int {
    let status = try await finished(job)
    try expect(status.state == .done, "job \(job) is \(status.state): \(status.details.compactMap(\.error).first ?? "")")
    var sample: UInt32 = 0
    for expected in ImageOracle.samples(of: submission) {
      let image = try await client.fetch(job, sample: sample)
      let isRight = try await oracle.image(expected) == image.tensor
      try expect(isRight, "image \(sample) of job \(job) is not what the oracle says")
      sample += 1
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
  func expectJobs(_ submitted: Set<JobID>) async throws {
    let jobs = submitted.union(await rehearsals.jobs)
    let known = try await client.jobs(limit: 1_000).map(\.job)
    try expect(
      Set(known).isSubset(of: jobs) && Set(known).count == known.count, "the broker knows a job that nobody submitted, or one twice")
    for job in jobs.sorted() {
      let state = try await client.status(of: job).state
      try expect(state == .done, "job \(job) was acknowledged and done, and is \(state)")
    }
  }
}

/// Jobs that showed what others have to deliver.
private actor Rehearsals {
  private(set) var jobs: Set<JobID> = []

  func insert(_ job: JobID) { jobs.insert(job) }
}

extension JobStatus {
  func stage(_ name: String) -> StageStatus? { stages.first { $0.stage == name } }
}
