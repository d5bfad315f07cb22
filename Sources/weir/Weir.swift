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
      Exit status: 0 done, 1 failed, 2 wrong arguments, 3 refused by the broker (also: your key is), 4 no broker there. Progress and messages go to standard \
      error, results to standard output; with --json results are JSON, one object a line, with the keys that each command's help lists.
      """,
    subcommands: [
      Up.self, Keygen.self, Submit.self, Status.self, Watch.self, Fetch.self, Release.self, Retry.self, Cancel.self, Workers.self,
      RunChild.self,
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

  @Option(
    help: ArgumentHelp(
      "For a broker with keys: your own, the .key_secret file that 'weir keygen' made; default: $WEIR_KEY_FILE.", valueName: "file"))
  var keyFile: String?

  @Option(
    help: ArgumentHelp("The broker's public key, or the .key file that holds it; default: $WEIR_BROKER_KEY.", valueName: "key"))
  var brokerKey: String?

  static let defaultBroker = "tcp://127.0.0.1:7710"

  func client() throws(ClientError) -> WeirClient {
    let environment = ProcessInfo.processInfo.environment
    return try WeirClient(
      broker: broker ?? environment["WEIR_BROKER"] ?? Self.defaultBroker,
      keys: try ClientKeys.chosen(keyFile: keyFile, brokerKey: brokerKey, environment: environment),
      options: WeirClient.Options(patience: .seconds(timeout)))
  }
}
