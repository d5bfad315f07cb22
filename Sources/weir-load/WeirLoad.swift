import ArgumentParser
import Programs

@main
struct WeirLoad: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weir-load", abstract: "Tries fleets: simulated ones, and real ones under faults.",
    subcommands: [Simulate.self, ChaosCommand.self, FuzzCommand.self])

  static func main() async { await Program.run(Self.self) }
}
