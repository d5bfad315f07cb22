import ArgumentParser
import Foundation
import Logging
import NetworkEngine
import Programs
import ServiceLifecycle
import Synchronization
import Tensors
import UnixSignals
import Worker
import ZeroMQ

@main
struct WeirWorker: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weir-worker",
    abstract: "Computes stages of a pipeline for a weir-broker.",
    discussion: """
      Finds the broker's worker port through its public endpoint, prints a line beginning with "ready" on standard output once it is welcomed, \
      and works until it is told to leave. SIGTERM and SIGINT hand running tasks back with their checkpoints. While the broker is away it goes on \
      with what it has and comes back by itself, and also if the broker does not let its key in, for that may change.

      Exit status: 0 left in good order, 1 the pipeline or its stage cannot be used, 2 wrong arguments, 4 no broker within --connect-timeout.
      """)

  enum EngineKind: String, ExpressibleByArgument, CaseIterable { case cascade, synthetic }

  @Option(
    help: ArgumentHelp(
      "The stage to compute, by its name in the pipeline; with several, NAME,NAME,…, it works on the one that has most to do.",
      valueName: "name"))
  var stage: String

  private var stages: [String] { stage.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }

  @Option(help: ArgumentHelp("The broker's public endpoint; default: $WEIR_BROKER or tcp://127.0.0.1:7710.", valueName: "endpoint"))
  var broker: String?

  @Option(
    help: ArgumentHelp(
      "For a broker with keys: this worker's own, the .key_secret file that 'weir keygen' made; default: $WEIR_KEY_FILE.",
      valueName: "file"))
  var keyFile: String?

  @Option(
    help: ArgumentHelp("The broker's public key, or the .key file that holds it; default: $WEIR_BROKER_KEY.", valueName: "key"))
  var brokerKey: String?

  @Option(help: ArgumentHelp("The pipeline: a folder with cascade.json and its weights.", valueName: "folder"))
  var pipeline: String?

  @Option(help: "What computes: the pipeline's networks, or a hash chain for tests of a fleet.")
  var engine = EngineKind.cascade

  @Option(help: ArgumentHelp("How long a step takes in the synthetic engine.", valueName: "ms"))
  var stepMs = 5.0

  @Option(
    help: ArgumentHelp(
      "Tasks of a stage computed together, 1 to 256; default: as few as use this machine fully, measured at the first start.",
      valueName: "count"))
  var slots: Int?

  @Option(help: "Tasks join others that are computed at every step, or, to compare with, only when all of those have ended.")
  var batching = Batching.step

  @Option(
    help: ArgumentHelp(
      """
      Tasks of a stage held beside those, 0 to 256 at most, so that the next one begins without asking the broker: one, or as many as take 0.1 s; \
      given only while many wait.
      """,
      valueName: "count"))
  var prefetch = 16

  @Option(help: ArgumentHelp("cpu, or cuda:0 and so on.", valueName: "device"))
  var device = "cpu"

  @Option(help: ArgumentHelp("f32 or bf16; default: the pipeline's for this stage.", valueName: "type"))
  var dtype: String?

  @Option(help: ArgumentHelp("Tasks of a batch computed at a time, a processor thread each; default: one a core.", valueName: "count"))
  var threads = ProcessInfo.processInfo.activeProcessorCount

  @Flag(help: "Needs no broker: print what a step of each stage takes a sample, a JSON object a line, and leave.")
  var profile = false

  @Option(help: ArgumentHelp("This worker's name in lists; default: the stage and the process id.", valueName: "name"))
  var name: String?

  @Option(help: ArgumentHelp("Give up, with status 4, after this long without a broker; default: never.", valueName: "seconds"))
  var connectTimeout: Double?

  @Option(help: ArgumentHelp("trace, debug, info, notice, warning, error or critical.", valueName: "level"))
  var logLevel = Logger.Level.info.rawValue

  mutating func validate() throws {
    guard stages.allSatisfy({ !$0.isEmpty }), Set(stages).count == stages.count else {
      throw ValidationError("--stage \(stage): write names with commas between them, each once, such as base32,sr64.")
    }
    guard (1...256).contains(slots ?? 1) else { throw ValidationError("--slots \(slots ?? 1): give 1 to 256.") }
    guard (0...256).contains(prefetch) else { throw ValidationError("--prefetch \(prefetch): give 0 to 256.") }
    guard (1...1024).contains(threads) else { throw ValidationError("--threads \(threads): give 1 to 1024.") }
    guard (0...86_400).contains(connectTimeout ?? 0) else {
      throw ValidationError("--connect-timeout \(connectTimeout ?? 0): give 0 to 86400 seconds.")
    }
    guard (0...3_600_000).contains(stepMs) else { throw ValidationError("--step-ms \(stepMs): give 0 to 3600000.") }
    if engine == .cascade, pipeline == nil {
      throw ValidationError("--pipeline is missing: name the folder that holds cascade.json (or use --engine synthetic).")
    }
    guard !profile || engine == .cascade else { throw ValidationError("--profile is of networks: leave out --engine synthetic.") }
    guard Logger.Level(rawValue: logLevel) != nil else {
      throw ValidationError("--log-level \(logLevel): choose of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
    guard BrokerEndpoint(brokerText) != nil else {
      throw ValidationError("--broker \(brokerText): write it like tcp://127.0.0.1:7710.")
    }
  }

  private var brokerText: String {
    broker ?? ProcessInfo.processInfo.environment["WEIR_BROKER"] ?? "tcp://127.0.0.1:7710"
  }

  static func main() async {
    Torch.keepFreedMemory()
    await Program.run(Self.self)
  }

  mutating func run() async throws {
    guard let endpoint = BrokerEndpoint(brokerText) else { throw ValidationError("--broker \(brokerText)") }
    let level = Logger.Level(rawValue: logLevel) ?? .info
    LoggingSystem.bootstrap { label in
      var handler = StreamLogHandler.standardError(label: label)
      handler.logLevel = level
      return handler
    }
    if profile { return try printProfile() }
    let identity: CurveIdentity?
    do {
      identity = try CurveIdentity.chosen(
        keyFile: keyFile, brokerKey: brokerKey, environment: ProcessInfo.processInfo.environment)
    } catch {
      fail(error.description, status: 2)
    }
    let pid = ProcessInfo.processInfo.processIdentifier
    let settings = WorkerService.Settings(
      broker: endpoint, name: name ?? "\(stage)-\(pid)", host: hostName(), pid: UInt32(clamping: pid), slots: slots,
      batching: batching, prefetch: prefetch, connectTimeout: connectTimeout.map { .seconds($0) }, identity: identity)
    let announcer = Announcer(stages: stages)
    let logger = Logger(label: "weir-worker")
    do {
      let services = try await WorkerService.make(
        settings: settings, logger: logger, makeEngines: stages.map { engineMaker($0, logger) }, onReady: announcer.ready)
      let group = ServiceGroup(
        configuration: .init(
          services: services.map { .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup) },
          gracefulShutdownSignals: [.sigterm, .sigint], logger: Logger(label: "weir-worker") { _ in SwiftLogNoOpLogHandler() }))
      try await group.run()
    } catch let error as WorkerError {
      fail(error.message, status: 4)
    } catch {
      fail("\(error)", status: 1)
    }
  }

  private func engineMaker(_ stage: String, _ logger: Logger) -> ComputeLoop.EngineMaker {
    let (stepMs, pipeline, device, dtype, threads, slots) = (stepMs, pipeline, device, dtype, threads, slots)
    switch engine {
    case .synthetic: return { try SyntheticEngine(stage: stage, stepMilliseconds: stepMs) }
    case .cascade:
      return {
        try CascadeEngine(pipeline: pipeline ?? "", stage: stage, device: device, dtype: dtype, threads: threads, slots: slots) {
          logger.info("\($0)")
        }
      }
    }
  }

  private func printProfile() throws {
    let logger = Logger(label: "weir-worker")
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    for stage in stages {
      do {
        let cost = try StageCost.measure(pipeline: pipeline ?? "", stage: stage, device: device, dtype: dtype, threads: threads) {
          logger.info("\($0)")
        }
        FileHandle.standardOutput.write(try encoder.encode(cost) + Data("\n".utf8))
      } catch {
        fail("\(error)", status: 1)
      }
    }
  }

  private func fail(_ message: String, status: Int32) -> Never {
    FileHandle.standardError.write(Data("weir-worker: \(message)\n".utf8))
    Foundation.exit(status)
  }
}

extension Batching: ExpressibleByArgument {}

/// As the kernel has it: asking the name service could take seconds.
private func hostName() -> String {
  var buffer = [CChar](repeating: 0, count: 256)
  guard gethostname(&buffer, buffer.count - 1) == 0 else { return "" }
  return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// Says so when every stage is ready.
private final class Announcer: Sendable {
  private let stages: [String]
  private let waiting: Mutex<Set<String>>

  init(stages: [String]) {
    self.stages = stages
    waiting = Mutex(Set(stages))
  }

  @Sendable func ready(_ info: EngineInfo) {
    let isLast = waiting.withLock { $0.remove(info.stageName) != nil && $0.isEmpty }
    guard isLast else { return }
    let line = "ready stage=\(stages.joined(separator: ",")) pipeline=\(info.pipelineName) numerics=\(info.numerics)\n"
    FileHandle.standardOutput.write(Data(line.utf8))
  }
}
