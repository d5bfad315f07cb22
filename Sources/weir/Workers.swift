import ArgumentParser
import Client
import Wire

struct Workers: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows the workers that the broker knows.",
    discussion: """
      --json prints {"workers": [...]} with name, stage, pipeline, digest, numerics, slots, running, finished (tasks since it came), \
      step_ms (per sample), silent_ms, host, pid, quarantine (why it gets no work).
      """)

  @OptionGroup var connection: BrokerOptions

  @Flag(help: "Print JSON.")
  var json = false

  func run() async throws {
    let workers = try await connection.client().workers()
    if json { return try JSONLines.write(["workers": workers.map { JSONLines.Worker($0) }]) }
    for line in StatusText.workers(workers) { Output.line(line) }
  }
}
