import Glibc
import Subprocess
import SystemPackage

/// A program that is kept running: started, its output passed on line by line, started again when it ends.
actor ChildProcess {
  nonisolated let name: String
  private var command: Command
  /// The program that ties the child to this process's life; see `runAsChild`.
  private let runner: String
  private let log: @Sendable (String) -> Void
  private var policy: RestartPolicy
  private var supervisor: Task<Void, Never>?
  private var current: Running?
  private var isStopping = false
  /// What the program said when it was ready; `nil`: it isn't.
  private var readyLine: String?
  private var failure: FleetError?
  private var readyWaiters: [CheckedContinuation<Void, Never>] = []

  private struct Running {
    let pid: Int32
    let signal: @Sendable (Signal) -> Void
  }

  init(_ command: Command, runner: String, policy: RestartPolicy, log: @escaping @Sendable (String) -> Void) {
    self.name = command.name
    self.command = command
    self.runner = runner
    self.policy = policy
    self.log = log
  }

  /// `nil` while it isn't running.
  var pid: Int32? { current?.pid }

  func start() {
    guard supervisor == nil, !isStopping else { return }
    supervisor = Task { await supervise() }
  }

  /// Returns once the program has printed its ready line, with that line.
  @discardableResult
  func waitUntilReady() async throws(FleetError) -> String {
    if readyLine == nil, failure == nil, !isStopping { await withCheckedContinuation { readyWaiters.append($0) } }
    if let failure { throw failure }
    guard let readyLine else { throw FleetError(.stopped, "the fleet was stopped before \(name) was ready") }
    return readyLine
  }

  /// With which its next life begins.
  func setArguments(_ arguments: [String]) { command.arguments = arguments }

  /// Ends it for good: SIGTERM, and SIGKILL if that hasn't helped after `grace`.
  func stop(grace: Duration) async {
    isStopping = true
    resumeWaiters()
    guard let supervisor else { return }
    current?.signal(.terminate)
    let killer = Task {
      try await Task.sleep(for: grace)
      log("\(name): still there after \(grace.components.seconds) s: killed")
      // Ends the pause before a restart, or the program.
      supervisor.cancel()
    }
    // In a pause between two lives there is nothing to wait for.
    if current == nil { supervisor.cancel() }
    await supervisor.value
    killer.cancel()
  }

  private func supervise() async {
    while !isStopping {
      let started = ContinuousClock.now
      readyLine = nil
      let end: RestartPolicy.End
      do {
        end = try await run()
      } catch {
        if !isStopping { fail(FleetError(.failed, "\(name): cannot run \(command.executable): \(error)")) }
        return
      }
      if isStopping { return }
      switch policy.ended(end, wasReady: readyLine != nil, after: .now - started) {
      case .giveUp:
        return fail(FleetError(.failed, "\(name) ended before it was ready: \(end.text); its last words are above"))
      case .restart(let pause):
        log("\(name): \(end.text); starts again in \(pause / .seconds(1)) s")
        try? await Task.sleep(for: pause)
      }
    }
  }

  private func run() async throws -> RestartPolicy.End {
    var options = PlatformOptions()
    // A group of its own: Ctrl-C on the terminal reaches this process alone, which then stops the others in order.
    options.processGroupID = 0
    var variables: [Environment.Key: String?] = [:]
    for (name, value) in command.environment { variables[Environment.Key(stringLiteral: name)] = value }
    let result = try await Subprocess.run(
      .path(FilePath(runner)),
      arguments: Arguments(childArguments(parent: getpid(), executable: command.executable, arguments: command.arguments)),
      environment: .inherit.updating(variables), platformOptions: options, input: .none, output: .sequence,
      error: .combinedWithOutput
    ) { execution in
      began(Running(pid: execution.processIdentifier.value) { signal in try? execution.send(signal: signal) })
      for try await line in execution.standardOutput.strings(bufferingPolicy: .unbounded) { said(line) }
      ended()
    }
    current = nil
    switch result.terminationStatus {
    case .exited(let code): return .exited(code)
    case .signaled(let signal): return .signalled(signal)
    }
  }

  private func began(_ running: Running) {
    current = running
    // A stop that came before there was anything to stop.
    if isStopping { running.signal(.terminate) }
  }

  private func ended() { current = nil }

  private func said(_ line: String) {
    log("\(name) | \(line)")
    if readyLine == nil, line.hasPrefix("ready ") {
      readyLine = line
      resumeWaiters()
    }
  }

  private func fail(_ error: FleetError) {
    failure = error
    resumeWaiters()
  }

  private func resumeWaiters() {
    for waiter in readyWaiters { waiter.resume() }
    readyWaiters = []
  }
}

extension RestartPolicy.End {
  var text: String {
    switch self {
    case .exited(let status): "exit status \(status)"
    case .signalled(let signal): "ended by signal \(signal)"
    }
  }
}
