import Foundation
import Glibc
import Subprocess
import SystemPackage

/// A process of a test. What it prints, errors included, is kept, and ends in `.ended`.
final class Program: Sendable {
  enum Event: Sendable, Hashable {
    case line(String)
    /// Its exit status, or the negative number of the signal that ended it.
    case ended(Int32)
  }

  struct Unexpected: Error, CustomStringConvertible {
    var description: String
  }

  /// Where the programs under test lie: beside the test's own.
  static let folder: String = {
    let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
    let folder = URL(fileURLWithPath: program).deletingLastPathComponent()
    // Where the tests are a bundle, its executable lies deeper.
    let candidates = [folder, Bundle.main.bundleURL, folder.deletingLastPathComponent().deletingLastPathComponent()]
    return candidates.first { FileManager.default.isExecutableFile(atPath: $0.appending(path: "weir-broker").path) }?.path ?? folder.path
  }()

  let name: String
  private let history = History()
  private let life: Task<Void, Never>

  /// Starts a program. It ends with this process at the latest.
  init(_ executable: String, _ arguments: [String], name: String? = nil) {
    let name = name ?? executable
    let history = history
    self.name = name
    life = Task.detached {
      var options = PlatformOptions()
      options.processGroupID = 0
      // Tied to this process's life as `weir up` ties its own.
      let runner = ["run-child", "--parent", "\(getpid())", "--", "\(Program.folder)/\(executable)"]
      do {
        let result = try await Subprocess.run(
          .path(FilePath("\(Program.folder)/weir")), arguments: Arguments(runner + arguments),
          platformOptions: options, input: .none, output: .sequence, error: .combinedWithOutput
        ) { execution in
          await history.began(execution.processIdentifier.value)
          for try await line in execution.standardOutput.strings(bufferingPolicy: .unbounded) { await history.add(.line(line)) }
        }
        switch result.terminationStatus {
        case .exited(let status): await history.add(.ended(status))
        case .signaled(let signal): await history.add(.ended(-signal))
        }
      } catch {
        await history.add(.line("cannot run \(executable): \(error)"))
        await history.add(.ended(-1))
      }
    }
  }

  /// The first line that fits, of those it has printed and those to come.
  @discardableResult
  func line(_ what: String, where fits: @Sendable (String) -> Bool) async throws -> String {
    for await event in await history.stream() {
      if case .line(let line) = event, fits(line) { return line }
    }
    throw Unexpected(description: "\(name) ended or the test's time was up before it printed \(what); it printed:\n\(await output)")
  }

  @discardableResult
  func line(containing text: String) async throws -> String {
    try await line("\"\(text)\"") { $0.contains(text) }
  }

  /// Its `ready` line.
  @discardableResult
  func ready() async throws -> String { try await line("its ready line") { $0.hasPrefix("ready ") } }

  /// The lines so far that fit.
  func lines(where fits: @Sendable (String) -> Bool) async -> [String] {
    await history.events.compactMap { if case .line(let line) = $0, fits(line) { line } else { nil } }
  }

  /// Waits for its end.
  @discardableResult
  func end() async throws -> Int32 {
    for await event in await history.stream() {
      if case .ended(let status) = event { return status }
    }
    throw Unexpected(description: "the test's time was up before \(name) ended; it printed:\n\(await output)")
  }

  func signal(_ signal: Int32) async {
    if let pid = await history.pid { Glibc.kill(pid, signal) }
  }

  /// Ends it with SIGKILL, and waits until it is gone.
  func kill() async {
    await history.kill()
    await life.value
  }

  var pid: Int32? { get async { await history.pid } }

  var output: String {
    get async {
      await history.events.map {
        switch $0 {
        case .line(let line): "  \(line)"
        case .ended(let status): "  (ended: \(status))"
        }
      }.joined(separator: "\n")
    }
  }

  private actor History {
    private(set) var events: [Event] = []
    /// `nil` before it runs and after it ended, when the number may be another's.
    private(set) var pid: Int32?
    private var isCondemned = false
    private var listeners: [AsyncStream<Event>.Continuation] = []

    func began(_ pid: Int32) {
      self.pid = pid
      if isCondemned { kill() }
    }

    /// At once, or as soon as it runs.
    func kill() {
      isCondemned = true
      if let pid { Glibc.kill(pid, SIGKILL) }
    }

    func add(_ event: Event) {
      events.append(event)
      for listener in listeners { listener.yield(event) }
      guard case .ended = event else { return }
      pid = nil
      for listener in listeners { listener.finish() }
      listeners = []
    }

    /// Everything from the beginning on.
    func stream() -> AsyncStream<Event> {
      let (stream, listener) = AsyncStream.makeStream(of: Event.self)
      for event in events { listener.yield(event) }
      if case .ended = events.last { listener.finish() } else { listeners.append(listener) }
      return stream
    }
  }
}

/// What a command that runs to its end gave back.
struct CommandResult: Sendable, CustomStringConvertible {
  var status: Int32
  var output: String
  var errors: String

  var description: String { "status \(status)\n--- output\n\(output)\n--- errors\n\(errors)" }
}

/// Runs one of the programs under test to its end.
func run(_ executable: String, _ arguments: [String]) async throws -> CommandResult {
  let result = try await Subprocess.run(
    .path(FilePath("\(Program.folder)/\(executable)")), arguments: Arguments(arguments), input: .none, output: .string(limit: 1 << 22),
    error: .string(limit: 1 << 22))
  let status: Int32 =
    switch result.terminationStatus {
    case .exited(let status): status
    case .signaled(let signal): -signal
    }
  return CommandResult(status: status, output: result.standardOutput, errors: result.standardError)
}
