import ArgumentParser
import Programs

@main
struct WeirBroker: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weir-broker", abstract: "Takes jobs, leases their tasks to workers, and keeps both on disk.",
    subcommands: [Serve.self, Backup.self], defaultSubcommand: Serve.self)

  static func main() async { await Program.run(Self.self) }
}
