import Glibc

/// What a fleet on this machine consists of.
package struct FleetPlan: Hashable, Sendable {
  package enum Engine: Hashable, Sendable {
    /// The networks of a pipeline folder.
    case cascade(pipeline: String)
    /// A hash chain in place of a network, `stepMilliseconds` a step.
    case synthetic(stepMilliseconds: Double)
  }

  /// How many workers a stage has.
  package struct StageWorkers: Hashable, Sendable {
    /// Of several, each of these workers serves all.
    package var stages: [String]
    package var count: Int
    /// Of each of them; `nil`: as the fleet's.
    package var threads: Int?

    package init(stages: [String], count: Int, threads: Int? = nil) {
      self.stages = stages
      self.count = count
      self.threads = threads
    }

    var name: String { stages.joined(separator: "+") }
  }

  /// When a task may join those that a worker computes.
  package enum Batching: String, Hashable, Sendable, CaseIterable {
    /// Before any step.
    case step
    /// When all of those have ended.
    case request
  }

  /// Files that say who is who in a fleet with keys.
  package struct Keys: Hashable, Sendable {
    /// The broker's `.key_secret` file.
    package var broker: String
    /// Who may come: the broker's access list.
    package var accessList: String
    /// The `.key_secret` file that all of the fleet's workers share.
    package var workers: String

    package init(broker: String, accessList: String, workers: String) {
      self.broker = broker
      self.accessList = accessList
      self.workers = workers
    }
  }

  /// The folder that holds `weir`, `weir-broker` and `weir-worker`.
  package var executables: String
  /// The broker's public endpoint; port 0 or `*` takes any free one.
  package var bind: String
  /// Lets the broker listen where other machines can reach it, without encryption.
  package var isInsecureAllowed: Bool
  /// `nil`: the fleet works without keys.
  package var keys: Keys?
  /// The broker's folder.
  package var data: String
  package var engine: Engine
  package var workers: [StageWorkers]
  /// Tasks of a worker's batch; `nil`: the worker's default.
  package var slots: Int?
  /// Of one worker; `nil`: one a core, so that whichever stage has work has the machine. Threads that wait sleep.
  package var threads: Int?
  package var batching = Batching.step
  /// Tasks that a worker is given ahead of its batch; `nil`: the worker's default.
  package var prefetch: Int?
  /// More of the broker's arguments.
  package var brokerOptions: [String] = []
  /// What the processes' environment has more than this one's.
  package var environment: [String: String] = [:]
  /// What starts the workers' programs, as programs and the arguments that go before the worker's own; they take turns. Empty: nothing does.
  package var launchers: [[String]] = []
  /// Where workers dial; `nil`: where the broker listens. A network that a test stands between them has another address.
  package var workersDial: String?
  /// What happens to a process that ended by itself.
  package var restartPolicy = RestartPolicy()

  package init(
    executables: String, bind: String, data: String, engine: Engine, workers: [StageWorkers], slots: Int? = nil, threads: Int? = nil,
    isInsecureAllowed: Bool = false, keys: Keys? = nil
  ) {
    self.keys = keys
    self.executables = executables
    self.bind = bind
    self.isInsecureAllowed = isInsecureAllowed
    self.data = data
    self.engine = engine
    self.workers = workers
    self.slots = slots
    self.threads = threads
  }

  package var workerCount: Int { workers.reduce(0) { $0 + $1.count } }

  /// - Parameter workers: where workers connect; `nil`: the broker's default.
  func broker(at endpoint: String, workers: String? = nil) -> Command {
    var arguments = ["--bind", endpoint, "--data", data]
    if let workers { arguments += ["--bind-workers", workers] }
    if isInsecureAllowed { arguments.append("--insecure") }
    if let keys { arguments += ["--key-file", keys.broker, "--allow", keys.accessList] }
    arguments += brokerOptions
    return Command(name: "broker", executable: brokerExecutable, arguments: arguments, environment: childEnvironment)
  }

  /// A field of a ready line, `ready clients=ENDPOINT workers=ENDPOINT`.
  static func field(_ name: String, of readyLine: String) -> String? {
    readyLine.split(separator: " ").first { $0.hasPrefix("\(name)=") }.map { String($0.dropFirst(name.utf8.count + 1)) }
  }

  /// Swift's crash handler reports where a program stopped, but can hang for good where the signal came from outside; then nobody would start
  /// the program again. Whoever looks for a crash sets the variable.
  private var childEnvironment: [String: String] {
    let quiet = getenv("SWIFT_BACKTRACE") == nil ? ["SWIFT_BACKTRACE": "enable=no"] : [:]
    return quiet.merging(environment) { $1 }
  }

  var brokerExecutable: String { "\(executables)/weir-broker" }
  var workerExecutable: String { "\(executables)/weir-worker" }

  func workerCommands(broker: String) -> [Command] {
    var numbers: [String: Int] = [:]
    let commands = workers.flatMap { workers in
      (0..<workers.count).map { _ in
        // Workers of a stage may differ in their threads, and are counted together.
        numbers[workers.name, default: 0] += 1
        let name = "\(workers.name)-\(numbers[workers.name, default: 0])"
        var arguments = ["--stage", workers.stages.joined(separator: ","), "--broker", workersDial ?? broker, "--name", name]
        switch engine {
        case .cascade(let pipeline): arguments += ["--pipeline", pipeline]
        case .synthetic(let stepMilliseconds): arguments += ["--engine", "synthetic", "--step-ms", "\(stepMilliseconds)"]
        }
        if let keys { arguments += ["--key-file", keys.workers, "--broker-key", keys.broker] }
        if let threads = workers.threads ?? threads { arguments += ["--threads", "\(threads)"] }
        if let slots { arguments += ["--slots", "\(slots)"] }
        if let prefetch { arguments += ["--prefetch", "\(prefetch)"] }
        arguments += ["--batching", batching.rawValue]
        return Command(name: name, executable: workerExecutable, arguments: arguments, environment: childEnvironment)
      }
    }
    if launchers.isEmpty { return commands }
    return commands.enumerated().map { $1.launched(by: launchers[$0 % launchers.count]) }
  }
}

/// A process of the fleet, as it is started.
struct Command: Hashable, Sendable {
  /// For people: what its output is marked with.
  var name: String
  var executable: String
  var arguments: [String]
  /// Set beside what is inherited.
  var environment: [String: String]

  /// - Parameter launcher: a program and its arguments, which end with the program that it starts.
  func launched(by launcher: [String]) -> Command {
    guard let program = launcher.first else { return self }
    var command = self
    command.executable = program
    command.arguments = launcher.dropFirst() + [executable] + arguments
    return command
  }
}
