import Glibc
import Subprocess
import SystemPackage

/// A process beside a fleet's own, which ends with this one at the latest. Nobody starts it again.
///
/// Subprocess starts it, for that has a thread which lives as long as this process: the kernel takes a thread's end for the parent's.
actor Companion {
  private let pid: Int32
  private let life: Task<Void, Never>

  init(_ settings: Chaos.Settings, _ program: String, _ arguments: [String]) async throws {
    let (pids, start) = AsyncThrowingStream.makeStream(of: Int32.self)
    let (executables, log) = (settings.executables, settings.log)
    life = Task {
      do {
        _ = try await Subprocess.run(
          .path(FilePath("\(executables)/weir")),
          arguments: Arguments(["run-child", "--parent", "\(getpid())", "--", "\(executables)/\(program)"] + arguments), input: .none,
          output: .sequence, error: .combinedWithOutput
        ) { execution in
          start.yield(execution.processIdentifier.value)
          for try await line in execution.standardOutput.strings(bufferingPolicy: .unbounded) { log("\(program) | \(line)") }
        }
        start.finish()
      } catch {
        start.finish(throwing: error)
      }
    }
    guard let pid = try await pids.first(where: { _ in true }) else { throw Broken("\(program) did not start") }
    self.pid = pid
  }

  func signal(_ signal: Int32) { kill(pid, signal) }

  func end() async {
    signal(SIGKILL)
    await life.value
  }
}
