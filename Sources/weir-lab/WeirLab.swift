import ArgumentParser
import Foundation

/// Training, reference sampling and measurement: everything that needs neither broker nor network.
@main
struct WeirLab: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weir-lab",
    abstract: "Train, sample and measure cascades on this machine alone.",
    subcommands: [Train.self, Sample.self, Forward.self, Bench.self])

  /// Exit codes: 0 done, 1 failed, 2 usage.
  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      let code = exitCode(for: error)
      let output = code.isSuccess ? FileHandle.standardOutput : FileHandle.standardError
      let text = fullMessage(for: error)
      if !text.isEmpty { output.write(Data((text + "\n").utf8)) }
      Foundation.exit(code == .validationFailure ? 2 : code.rawValue)
    }
  }
}
