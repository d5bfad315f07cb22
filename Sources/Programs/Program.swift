package import ArgumentParser
import Foundation

/// How Weir's programs begin and end. ArgumentParser would leave with status 64 after wrong arguments; ours is 2.
package enum Program {
  package static let failed: Int32 = 1
  package static let usage: Int32 = 2

  /// Runs the command that the arguments name. What it throws goes to `leave`.
  ///
  /// On the main thread: a command that isn't asynchronous may compute for hours, and would keep a thread from the others' tasks.
  @MainActor package static func run<Root: ParsableCommand>(_ root: Root.Type, orElse leave: (any Error) -> Never) async {
    do {
      var command = try root.parseAsRoot()
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
    } catch {
      leave(error)
    }
  }

  /// Runs the command that the arguments name, and says what it throws.
  @MainActor package static func run<Root: ParsableCommand>(_ root: Root.Type) async {
    await run(root) { leave(root, $0) }
  }

  /// Says what went wrong, on standard error, and leaves; or, where it is help that was asked for, says that on standard output.
  package static func leave<Root: ParsableCommand>(_ root: Root.Type, _ error: any Error) -> Never {
    let code = root.exitCode(for: error)
    let message = root.fullMessage(for: error)
    let output = code.isSuccess ? FileHandle.standardOutput : FileHandle.standardError
    if !message.isEmpty { try? output.write(contentsOf: Data((message + "\n").utf8)) }
    exit(code == .validationFailure ? usage : code.rawValue)
  }
}
