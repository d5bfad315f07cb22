import ArgumentParser
import Programs

@main
struct WeirLoad: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weir-load", abstract: "Tries fleets: how fast they are, and what they do under faults.",
    subcommands: [
      RunCommand.self, CompareCommand.self, RecordCommand.self, WireCommand.self, Simulate.self, ChaosCommand.self, FuzzCommand.self,
      LyingWorkerCommand.self,
      TrapCommand.self,
    ])

  static func main() async { await Program.run(Self.self) }
}
