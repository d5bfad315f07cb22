import ArgumentParser
import Foundation
import LocalFleet

struct Up: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs a fleet on this machine: a broker and its workers.",
    discussion: """
      Prints one line, "ready broker=ENDPOINT workers=N", on standard output once the broker has welcomed every worker; what the \
      processes say goes to standard error, each line marked with its process. A process that dies is started again. Ctrl-C or SIGTERM \
      stops the workers, which hand back what they work on, then the broker; unfinished jobs go on with the next 'weir up' of the same \
      --data.
      """)

  @Option(help: ArgumentHelp("The pipeline: a folder with cascade.json and its weights.", valueName: "folder"))
  var pipeline: String?

  @Option(
    help: ArgumentHelp(
      "Workers a stage: base32=1,sr64=2; base32+sr64=2: each serves both. Stages not named get one. Default: by what the stages cost.",
      valueName: "list"))
  var workers: [String] = []

  @Option(help: ArgumentHelp("The broker's journal; default: $XDG_STATE_HOME/weir or ~/.local/state/weir.", valueName: "folder"))
  var data: String?

  @Option(help: ArgumentHelp("The broker's endpoint; default: $WEIR_BROKER or tcp://127.0.0.1:7710.", valueName: "endpoint"))
  var bind: String?

  @Option(help: ArgumentHelp("The broker's own key, for a fleet with keys: see 'weir-broker --help'.", valueName: "file"))
  var keyFile: String?

  @Option(help: ArgumentHelp("The list of the keys that may enter; goes with --key-file.", valueName: "file"))
  var allow: String?

  @Option(help: ArgumentHelp("The key of these workers, which has to be on the list; goes with --key-file.", valueName: "file"))
  var workerKeyFile: String?

  @Flag(help: "Let the broker listen where other machines can reach it, without encryption or keys.")
  var insecure = false

  enum EngineKind: String, ExpressibleByArgument, CaseIterable { case cascade, synthetic }

  @Option(help: "What computes: the pipeline's networks, or a hash chain to try a fleet without them.")
  var engine = EngineKind.cascade

  @Option(help: ArgumentHelp("How long a step takes in the synthetic engine.", valueName: "ms"))
  var stepMs = 5.0

  @Option(
    help: ArgumentHelp(
      "Tasks of a stage that a worker computes together; default: as few as use the machine fully, which it measures.", valueName: "n"))
  var slots: Int?

  @Option(help: ArgumentHelp("Cores that the workers may take together; default: all of this machine's.", valueName: "n"))
  var cores = ProcessInfo.processInfo.activeProcessorCount

  @Option(help: ArgumentHelp("Threads of each worker; default: by what the stages cost, or with --workers one a core.", valueName: "n"))
  var threads: Int?

  @Option(help: "Tasks join others that are computed at every step, or, to compare with, only when all of those have ended.")
  var batching = FleetPlan.Batching.step

  /// Of the worker's synthetic engine.
  private static let syntheticStages = ["base32", "sr64", "sr256"]

  func validate() throws {
    guard (pipeline == nil) == (engine == .synthetic) else {
      throw ValidationError(
        pipeline == nil
          ? "--pipeline is missing: name the folder that holds cascade.json (or use --engine synthetic)."
          : "--engine synthetic has a pipeline of its own: leave out --pipeline.")
    }
    let keys = [keyFile, allow, workerKeyFile].compactMap { $0 }
    guard keys.isEmpty || keys.count == 3 else {
      throw ValidationError("--key-file, --allow and --worker-key-file go together: a fleet works with keys or without.")
    }
    guard (1...1024).contains(threads ?? 1) else { throw ValidationError("--threads \(threads ?? 1): give 1 to 1024.") }
    guard (1...1024).contains(cores) else { throw ValidationError("--cores \(cores): give 1 to 1024.") }
    guard (1...256).contains(slots ?? 1) else { throw ValidationError("--slots \(slots ?? 1): give 1 to 256.") }
    guard (0...3_600_000).contains(stepMs) else { throw ValidationError("--step-ms \(stepMs): give 0 to 3600000.") }
  }

  func run() async throws {
    let plan = try await plan()
    let fleet: LocalFleet
    do {
      fleet = try LocalFleet(plan) { Output.error(printable($0)) }
    } catch {
      throw Failure(error.message)
    }
    let signals = StopSignals()
    let stopping = Task {
      var stop: Task<Void, Never>?
      for await _ in signals.arrivals {
        // Whoever asks twice does not want to wait; the processes end with this one all the same.
        if stop != nil { Foundation.exit(Exit.interrupted) }
        Output.error("stopping: the workers hand back their work (once more to leave at once)")
        stop = Task {
          await fleet.stop()
          Foundation.exit(0)
        }
      }
    }
    do {
      let endpoint = try await fleet.start()
      Output.line("ready broker=\(endpoint) workers=\(plan.workerCount)")
    } catch {
      if error.code != .stopped { throw Failure(error.message) }
    }
    await stopping.value
  }

  private func plan() async throws -> FleetPlan {
    let stages: [String]
    let engine: FleetPlan.Engine
    if let pipeline {
      do {
        stages = try pipelineStages(pipeline)
      } catch {
        throw UsageError(error.message)
      }
      engine = .cascade(pipeline: pipeline)
    } else {
      stages = Self.syntheticStages
      engine = .synthetic(stepMilliseconds: stepMs)
    }
    var keys: FleetPlan.Keys?
    if let keyFile, let allow, let workerKeyFile {
      keys = FleetPlan.Keys(broker: keyFile, accessList: allow, workers: workerKeyFile)
    }
    let environment = ProcessInfo.processInfo.environment
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let executables = URL(fileURLWithPath: program).deletingLastPathComponent().path
    var counts = try WorkerList.parse(workers, stages: stages)
    if let pipeline, workers.isEmpty, threads == nil { counts = try await place(stages, of: pipeline, executables) }
    var plan = FleetPlan(
      executables: executables, bind: bind ?? environment["WEIR_BROKER"] ?? BrokerOptions.defaultBroker,
      data: data ?? Self.defaultData(environment), engine: engine, workers: counts, slots: slots, threads: threads ?? cores,
      isInsecureAllowed: insecure, keys: keys)
    plan.batching = batching
    return plan
  }

  /// Workers of every stage of a pipeline, as its stages' costs on this machine suggest; says which.
  private func place(_ stages: [String], of pipeline: String, _ executables: String) async throws -> [FleetPlan.StageWorkers] {
    let placement: Placement
    // Nothing is to be measured where there is nothing to divide.
    if cores < stages.count {
      placement = .shared(stages, cores: cores, because: "they are fewer than stages")
    } else {
      do {
        let costs = try await measuredCosts(of: stages, pipeline: pipeline, executables: executables) { Output.error(printable($0)) }
        placement = .of(costs, cores: cores)
      } catch {
        throw Failure(error.message)
      }
    }
    Output.error("workers: \(placement.reason)")
    return placement.workers
  }

  private static func defaultData(_ environment: [String: String]) -> String {
    let state = environment["XDG_STATE_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? "\(environment["HOME"] ?? "")/.local/state"
    return "\(state)/weir"
  }
}

/// How `weir up` starts its processes; not for people.
struct RunChild: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run-child", abstract: "Becomes another program that ends with a given process.", shouldDisplay: false)

  @Option(help: "The process to end with.")
  var parent: Int32

  @Argument(parsing: .postTerminator, help: "The program and its arguments.")
  var command: [String]

  func validate() throws {
    guard !command.isEmpty else { throw ValidationError("No program is named after --.") }
  }

  func run() throws {
    throw Failure(runAsChild(of: parent, executable: command[0], arguments: Array(command.dropFirst())))
  }
}

extension FleetPlan.Batching: ExpressibleByArgument {}
