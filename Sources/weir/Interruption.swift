import Dispatch
import Glibc

/// Runs `body`; Ctrl-C cancels its task, so that it can put things in order, and the program leaves with the status of an interruption.
/// A second Ctrl-C leaves at once.
func interruptible(_ body: @escaping @Sendable () async throws -> Void) async throws {
  let task = Task { try await body() }
  signal(SIGINT, SIG_IGN)
  let source = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())
  source.setEventHandler {
    if task.isCancelled { exit(Exit.interrupted) }
    task.cancel()
  }
  source.resume()
  defer { source.cancel() }
  do {
    try await task.value
  } catch  where task.isCancelled {
    exit(Exit.interrupted)
  }
}
