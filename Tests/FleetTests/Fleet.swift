import Client
import Foundation
import Glibc
import Testing
import Wire
import Worker

/// A broker and workers as processes, in a folder of their own.
actor Fleet {
  enum Engine: Sendable {
    case synthetic(stepMilliseconds: Double)
    case cascade(pipeline: String)

    var stages: [String] {
      switch self {
      case .synthetic: SyntheticEngine.pipeline.stages.map(\.name)
      case .cascade: TinyPipeline.stages
      }
    }
  }

  nonisolated let folder: String
  nonisolated let engine: Engine
  nonisolated let slots: Int
  private(set) var broker: Program
  private(set) var endpoint = ""
  private var workersEndpoint = ""
  private var workers: [String: Program] = [:]
  private var started = 0
  /// Everything that was ever started, for the record of a failed test and to be ended with it.
  private var programs: [Program] = []

  /// After this long a silent worker is given up. Short where workers are killed, else long enough for any machine.
  static let quickDeath = 2000
  static let slowDeath = 20_000
  private nonisolated let brokerTimes: [String]

  private init(engine: Engine, slots: Int, deadMilliseconds: Int) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "weir-fleet-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    self.folder = folder
    self.engine = engine
    self.slots = slots
    brokerTimes = ["--beat-ms", "200", "--dead-ms", "\(deadMilliseconds)", "--checkpoint-ms", "50"]
    broker = Self.makeBroker(folder, "tcp://127.0.0.1:0", nil, brokerTimes)
    programs = [broker]
  }

  private static func makeBroker(_ folder: String, _ endpoint: String, _ workers: String?, _ times: [String]) -> Program {
    let bindWorkers = workers.map { ["--bind-workers", $0] } ?? []
    return Program("weir-broker", ["--bind", endpoint, "--data", "\(folder)/data"] + bindWorkers + times)
  }

  /// Runs `body` beside a broker and `perStage` workers a stage; ends them all afterwards. What they printed is shown if the test failed.
  static func with(
    _ engine: Engine = .synthetic(stepMilliseconds: 5), perStage: Int = 1, slots: Int = 4,
    deadMilliseconds: Int = slowDeath, _ body: (Fleet) async throws -> Void
  ) async throws {
    let fleet = try Fleet(engine: engine, slots: slots, deadMilliseconds: deadMilliseconds)
    do {
      try await fleet.start(perStage)
      try await body(fleet)
    } catch {
      await fleet.end()
      print(await fleet.record)
      throw error
    }
    await fleet.end()
  }

  private func start(_ perStage: Int) async throws {
    try await brokerIsReady()
    let all = engine.stages.flatMap { stage in (1...max(perStage, 1)).prefix(perStage).map { ("\(stage)-\($0)", stage) } }
    for (name, stage) in all { startWorker(stage, name: name) }
    for (name, _) in all { try await worker(name).ready() }
  }

  private func brokerIsReady() async throws {
    let line = try await broker.ready()
    let fields = Dictionary(
      line.split(separator: " ").compactMap { word in
        word.firstIndex(of: "=").map { (String(word[..<$0]), String(word[word.index(after: $0)...])) }
      }, uniquingKeysWith: { first, _ in first })
    endpoint = try #require(fields["clients"])
    workersEndpoint = try #require(fields["workers"])
  }

  private func end() async {
    for program in programs { await program.kill() }
    try? FileManager.default.removeItem(atPath: folder)
  }

  private var record: String {
    get async {
      var text = ""
      for program in programs { text += "--- \(program.name)\n\(await program.output)\n" }
      return text
    }
  }

  // MARK: what tests do

  /// Patient, and quick to ask again.
  nonisolated func client(_ endpoint: String) throws -> WeirClient {
    try WeirClient(
      broker: endpoint,
      options: .init(
        resendAfter: .milliseconds(500), patience: .seconds(60), waitPatience: .seconds(60), watchSilence: .milliseconds(500)))
  }

  var client: WeirClient { get throws { try client(endpoint) } }

  /// Host and port for the workers, as the broker says.
  var workerEndpoint: String { workersEndpoint }

  func worker(_ name: String) throws -> Program { try #require(workers[name], "no worker \(name)") }

  /// The arguments of a worker of this fleet.
  func workerArguments(_ stage: String) -> [String] {
    let common = ["--stage", stage, "--broker", endpoint, "--slots", "\(slots)"]
    switch engine {
    case .synthetic(let step): return common + ["--engine", "synthetic", "--step-ms", "\(step)"]
    case .cascade(let pipeline): return common + ["--pipeline", pipeline]
    }
  }

  /// Starts a worker, in place of a dead one of that name if there was one.
  @discardableResult
  func startWorker(_ stage: String, name: String) -> Program {
    started += 1
    // One thread and two by turns: no byte may depend on it.
    let arguments = workerArguments(stage) + ["--threads", "\(1 + started % 2)", "--name", name]
    let program = Program("weir-worker", arguments, name: "\(name) (start \(started))")
    workers[name] = program
    programs.append(program)
    return program
  }

  /// kill -9 of a worker, and another in its place.
  func replaceWorker(_ stage: String, name: String) async throws {
    try await worker(name).kill()
    startWorker(stage, name: name)
  }

  /// kill -9 of the broker, and another on the same data and ports.
  func replaceBroker() async throws {
    await broker.kill()
    broker = Self.makeBroker(folder, endpoint, workersEndpoint, brokerTimes)
    programs.append(broker)
    try await brokerIsReady()
  }

  func startProgram(_ executable: String, _ arguments: [String]) -> Program {
    let program = Program(executable, arguments)
    programs.append(program)
    return program
  }
}

extension WeirClient {
  /// The job's final state.
  func finished(_ job: JobID) async throws -> JobStatus {
    var last: JobStatus?
    for try await status in watch(job) { last = status }
    return try #require(last)
  }
}

extension JobStatus {
  func stage(_ name: String) -> StageStatus? { stages.first { $0.stage == name } }

  /// A task of the stage has taken a step.
  func hasBegun(_ name: String) -> Bool { (stage(name)?.stepsDone ?? 0) > 0 }
}
