import ArgumentParser

@main
struct WeirLoad: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weir-load", abstract: "Tries a fleet: under simulated faults.", subcommands: [Simulate.self])
}
