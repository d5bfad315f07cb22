import ArgumentParser
import Client
import Foundation
import Programs

@main
struct Weir: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weir",
    abstract: "Generates images with a cascaded diffusion model on a fleet of stage workers.",
    discussion: """
      Exit status: 0 done, 1 failed, 2 wrong arguments, 3 refused by the broker, 4 no broker there. Progress and messages go to standard \
      error, results to standard output; with --json results are JSON, one object a line, with the keys that each command's help lists.
      """,
    subcommands: [
      Up.self, Submit.self, Status.self, Watch.self, Fetch.self, Release.self, Retry.self, Cancel.self, Workers.self, RunChild.self,
    ])

  static func main() async { await Program.run(Self.self, orElse: Exit.now) }
}

/// Which broker, and how patiently.
struct BrokerOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The broker's endpoint; default: $WEIR_BROKER or tcp://127.0.0.1:7710.", valueName: "endpoint"))
  var broker: String?

  @Option(help: ArgumentHelp("How long to wait for the broker to answer.", valueName: "seconds"))
  var timeout = 10.0

  func validate() throws {
    guard (0.1...86_400).contains(timeout) else { throw ValidationError("--timeout \(timeout): give 0.1 to 86400 seconds.") }
  }

  static let defaultBroker = "tcp://127.0.0.1:7710"

  func client() throws(ClientError) -> WeirClient {
    let endpoint = broker ?? ProcessInfo.processInfo.environment["WEIR_BROKER"] ?? Self.defaultBroker
    return try WeirClient(broker: endpoint, options: WeirClient.Options(patience: .seconds(timeout)))
  }
}
