import ArgumentParser
import Foundation

@main
struct WeirLoad: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weir-load", abstract: "Tries fleets: simulated ones, and real ones under faults.",
    subcommands: [Simulate.self, ChaosCommand.self])

  static func main() async {
    do {
      var command = try parseAsRoot()
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
    } catch {
      let code = exitCode(for: error)
      guard code == .validationFailure else { exit(withError: error) }
      FileHandle.standardError.write(Data((fullMessage(for: error) + "\n").utf8))
      Foundation.exit(2)
    }
  }
}
