import Subprocess
import SystemPackage

extension CallTrap {
  private var arguments: Arguments {
    let effect =
      switch effect {
      case .kill: ["--kill"]
      case .losePower(let seed): ["--lose-power", "\(seed)"]
      case .refuse(let error): ["--refuse", "\(error)"]
      }
    return Arguments(
      ["trap", "--process", "\(process)", "--call", call.rawValue, "--count", "\(count)", "--moment", moment.rawValue] + effect)
  }

  /// Returns when it has struck.
  ///
  /// - Parameter executables: the folder of `weir-load`.
  func spring(_ executables: String) async throws {
    let result = try await Subprocess.run(
      .path(FilePath("\(executables)/weir-load")), arguments: arguments, input: .none, output: .string(limit: 65_536),
      error: .combinedWithOutput)
    if result.terminationStatus.isSuccess { return }
    throw Broken("no \(call.rawValue) was struck: \(result.standardOutput) (\(result.terminationStatus))")
  }

  /// Runs `body` while it watches.
  func hold(_ executables: String, while body: @Sendable () async throws -> Void) async throws {
    let result = try await Subprocess.run(
      .path(FilePath("\(executables)/weir-load")), arguments: arguments, input: .none, output: .sequence, error: .combinedWithOutput
    ) { execution in
      var words = ""
      for try await line in execution.standardOutput.strings() {
        words += line
        guard line == Self.watching else { continue }
        // Its end lets the threads go that it holds.
        defer { try? execution.send(signal: .kill) }
        try await body()
        return ""
      }
      return words
    }
    if !result.closureResult.isEmpty { throw Broken("nothing can be refused: \(result.closureResult)") }
  }

  /// What `weir-load trap` says once nothing escapes it.
  package static let watching = "watching"
}
