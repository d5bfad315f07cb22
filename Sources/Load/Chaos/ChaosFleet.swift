import Broker
import Client
import Foundation
import FreePorts
import Glibc
import LocalFleet
import Wire
import Worker
import ZeroMQ

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
    /// Workers, and the client, reach the broker through networks that can fail.
    var hasNetworks = false
    /// Of a file system of its own for the broker's journal; `nil`: it lies where there is room.
    var diskMebibytes: Int?
    /// The processes' wall clock can be made to jump.
    var hasOwnClock = false
    /// Nobody gets in without one.
    var hasKeys = false
  }

  /// Of a fleet with keys: whom its list lets in.
  struct KeyRing: Sendable {
    let clients: CurveIdentity
    /// A client of another tenant.
    let stranger: CurveIdentity
    let workers: CurveIdentity
  }

  /// Between the broker and its workers, and between it and the client.
  struct Networks: Sendable {
    let workers: FaultyNetwork
    let clients: FaultyNetwork
  }

  /// What was made for the processes, and outlives none of them.
  private struct Surroundings: Sendable {
    var networks: Networks?
    var disk: SmallDisk?
    var clock: WallClock?
    var keys: KeyRing?

    func putAway() {
      networks?.workers.stop()
      networks?.clients.stop()
      disk?.unmount()
    }
  }

  let shape: Shape
  let stages: [String]
  let oracle: ImageOracle
  private let settings: Chaos.Settings
  /// Of the broker's journal.
  let data: String
  private let fleet: LocalFleet
  private let rehearsals = Rehearsals()
  /// Where the client dials.
  let endpoint: String
  let client: WeirClient
  private let surroundings: Surroundings

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
    self.settings = settings
    self.shape = shape
    self.oracle = oracle
    data = "\(folder)/data"
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
      executables: settings.executables, bind: "tcp://127.0.0.1:0", data: data, engine: engine,
      workers: stages.map { FleetPlan.StageWorkers(stages: [$0], count: shape.perStage) }, slots: shape.slots, threads: shape.threads)
    plan.brokerOptions =
      [
        "--beat-ms", "200", "--dead-ms", "\(shape.deadMilliseconds)", "--checkpoint-ms", "\(shape.checkpointMilliseconds)",
        "--log-level", "error",
      ] + shape.brokerOptions
    var surroundings = Surroundings()
    if shape.hasOwnClock {
      let clock = try WallClock(in: folder, executables: settings.executables)
      plan.environment = clock.environment
      surroundings.clock = clock
    }
    if shape.hasKeys { surroundings.keys = try Self.makeKeys(&plan, in: folder) }
    if shape.hasNetworks { surroundings.networks = try Self.makeNetworks(&plan) }
    plan.restartPolicy = RestartPolicy(shortest: .milliseconds(50), longest: .milliseconds(200))
    do {
      fleet = try LocalFleet(plan, log: settings.log)
      if let mebibytes = shape.diskMebibytes {
        try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
        surroundings.disk = try SmallDisk(at: data, mebibytes: mebibytes)
      }
      let address = try await fleet.start()
      endpoint = surroundings.networks.map { address.replacing(Self.brokerHost, with: $0.clients.host) } ?? address
      client = try Self.client(endpoint, keys: surroundings.keys.map { ClientKeys($0.clients) })
    } catch {
      surroundings.putAway()
      throw error
    }
    self.surroundings = surroundings
  }

  private static let brokerHost = "127.0.0.1"

  /// A worker finds its port through the public one, so a network needs both of the broker's ports at an address of its own.
  private static func makeNetworks(_ plan: inout FleetPlan) throws -> Networks {
    let hosts = ["127.0.0.2", "127.0.0.3"]
    guard let ports = FreePorts.choose(2, at: [brokerHost] + hosts) else { throw Broken("no two ports are free") }
    plan.bind = "tcp://\(brokerHost):\(ports[0])"
    plan.brokerOptions += ["--bind-workers", "tcp://\(brokerHost):\(ports[1])"]
    plan.workersDial = "tcp://\(hosts[0]):\(ports[0])"
    let workers = try FaultyNetwork(at: hosts[0], before: brokerHost, ports: ports)
    do {
      return Networks(workers: workers, clients: try FaultyNetwork(at: hosts[1], before: brokerHost, ports: ports))
    } catch {
      workers.stop()
      throw error
    }
  }

  /// Makes a key for each, and the broker's list of them.
  private static func makeKeys(_ plan: inout FleetPlan, in folder: String) throws -> KeyRing {
    let broker = try CurveKeyPair.generate()
    let (client, stranger, worker) = (try CurveKeyPair.generate(), try CurveKeyPair.generate(), try CurveKeyPair.generate())
    let list = "client \(client.publicKey) tenant=load\nclient \(stranger.publicKey) tenant=storm\nworker \(worker.publicKey) stages=*\n"
    try list.write(toFile: "\(folder)/allow", atomically: true, encoding: .utf8)
    plan.keys = FleetPlan.Keys(
      broker: try CurveCertificate.write(broker, to: "\(folder)/broker").secretPath, accessList: "\(folder)/allow",
      workers: try CurveCertificate.write(worker, to: "\(folder)/workers").secretPath)
    func identity(_ pair: CurveKeyPair) -> CurveIdentity { CurveIdentity(pair, server: broker.publicKey) }
    return KeyRing(clients: identity(client), stranger: identity(stranger), workers: identity(worker))
  }

  func keys() throws -> KeyRing {
    guard let keys = surroundings.keys else { throw Broken("this fleet has no keys") }
    return keys
  }

  /// - Throws: `Broken` if the fleet was started without them.
  func faultyNetworks() throws -> Networks {
    guard let networks = surroundings.networks else { throw Broken("this fleet has no networks of its own") }
    return networks
  }

  func smallDisk() throws -> SmallDisk {
    guard let disk = surroundings.disk else { throw Broken("this fleet has no disk of its own") }
    return disk
  }

  func wallClock() throws -> WallClock {
    guard let clock = surroundings.clock else { throw Broken("this fleet has no clock of its own") }
    return clock
  }

  static func client(_ endpoint: String, keys: ClientKeys? = nil, patience: Duration = .seconds(120)) throws -> WeirClient {
    try WeirClient(
      broker: endpoint, keys: keys,
      options: .init(
        resendAfter: .milliseconds(500), patience: patience, waitPatience: .seconds(300), watchSilence: .milliseconds(500)))
  }

  private func stop() async {
    // A stopped process cannot end in order.
    for name in processes { await fleet.signal(name, SIGCONT) }
    await client.close()
    await fleet.stop()
    surroundings.putAway()
  }

  // MARK: Processes

  var workers: [String] { stages.flatMap { stage in (1...shape.perStage).map { "\(stage)-\($0)" } } }
  var processes: [String] { ["broker"] + workers }

  @discardableResult
  func signal(_ name: String, _ signal: Int32) async -> Bool { await fleet.signal(name, signal) }

  /// `nil` while it does not run.
  func pid(_ name: String) async -> Int32? { await fleet.pids[name] }

  /// Waits until there is one. It may be at its very beginning.
  ///
  /// - Parameter old: one that was killed; it may be known yet.
  func runningBroker(after old: Int32? = nil) async throws -> Int32 {
    for _ in 0..<6_000 {
      if let pid = await fleet.pids["broker"], pid != old { return pid }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw Broken("for a minute there was no broker")
  }

  /// Waits until the stage's workers, which are at work no more, have been given up.
  func waitUntilNobodyServes(_ stage: String) async throws {
    for _ in 0..<1_200 {
      if try await !client.workers().contains(where: { $0.stage == stage }) { return }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw Broken("for a minute the workers of \(stage) were not given up")
  }

  /// Resident memory of the broker, in MiB.
  func brokerMemory() async -> Double {
    guard let pid = await fleet.pids["broker"] else { return 0 }
    return Double(ResidentMemory.now(of: "\(pid)") ?? 0) / 0x1p20
  }

  /// Starts a worker of the synthetic engine that may lie, beside the fleet's own.
  func startLiar(_ lie: LyingEngine.Lie, stage: String, name: String, stepMilliseconds: Double) async throws -> Companion {
    try await Companion(
      settings, "weir-load",
      [
        "lying-worker", "--stage", stage, "--broker", endpoint, "--name", name, "--step-ms", "\(stepMilliseconds)", "--slots",
        "\(shape.slots)", "--lie", lie.rawValue,
      ])
  }

  // MARK: Jobs

  /// Steps of each stage: so many of the synthetic engine's, or a few of networks, which take longer.
  func steps(_ synthetic: [UInt32], cascade: [UInt32]) -> [UInt32] { settings.engine == .synthetic ? synthetic : cascade }

  /// What a step of a stage takes at least: of networks a little less than at the rehearsal, when one sample had the machine to itself.
  func leastStepMilliseconds(of stage: String) async throws -> Double {
    if settings.engine == .synthetic { return shape.stepMilliseconds }
    guard let alone = await rehearsals.stepMilliseconds[stage] else { throw Broken("no rehearsal tells what a step of \(stage) takes") }
    return 0.8 * alone
  }

  /// How many images there are that differ.
  private var variety: Int { settings.engine == .synthetic ? .max : 3 }

  /// Labels that are used, by number.
  var labels: UInt64 { settings.engine == .synthetic ? 12 : 2 }

  func options(_ steps: [UInt32]) -> [StageOptions] { zip(stages, steps).map { StageOptions(stage: $0, steps: $1) } }

  /// A job of a few images, which differ with `number`.
  func submission(_ number: Int, samples: UInt32 = 3, steps: [UInt32]) -> Submission {
    let image = number % variety
    return Submission(
      pipeline: settings.engine == .synthetic ? SyntheticEngine.pipeline.name : "",
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
      for attempt in try await client.history(of: job) {
        await rehearsals.note(stages[Int(attempt.stage)], stepMilliseconds: attempt.stepMilliseconds)
      }
    }
  }

  /// A job that takes longer is stuck.
  private static let patience = Duration.seconds(1_800)

  func finished(_ job: JobID) async throws -> JobStatus {
    try await withThrowingTaskGroup(of: JobStatus.self) { group in
      defer { group.cancelAll() }
      group.addTask {
        var last: JobStatus?
        for try await status in self.client.watch(job) { last = status }
        guard let last else { throw Broken("the watch of job \(job) ended without a state") }
        return last
      }
      group.addTask {
        try await Task.sleep(for: Self.patience)
        throw Broken("job \(job) is not done after \(Self.patience)")
      }
      guard let first = try await group.next() else { throw Broken("job \(job) was not watched") }
      return first
    }
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
      let image = try await patiently { [sample] in try await client.fetch(job, sample: sample) }
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
  /// Of each stage, the least that a worker told.
  private(set) var stepMilliseconds: [String: Double] = [:]

  func insert(_ job: JobID) { jobs.insert(job) }

  func note(_ stage: String, stepMilliseconds time: Double?) {
    if let time { stepMilliseconds[stage] = min(time, stepMilliseconds[stage] ?? time) }
  }
}

extension JobStatus {
  func stage(_ name: String) -> StageStatus? { stages.first { $0.stage == name } }
}
