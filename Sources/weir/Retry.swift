import ArgumentParser
import Client
import Wire

struct Retry: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Tries samples again that failed for good.",
    discussion: """
      They go on from the stage they failed in. 'weir status --dead' lists them.

      --json prints job and samples (how many are tried again).
      """)

  @OptionGroup var connection: BrokerOptions

  @Argument(help: "The job's number, 16 hexadecimal digits.")
  var job: JobArgument

  @Option(help: ArgumentHelp("Only these samples, counted from 0: 0,3,5-7. Default: all that failed.", valueName: "list"))
  var sample: String?

  @Flag(help: "Print JSON.")
  var json = false

  func run() async throws {
    let samples = try sample.map { text throws(UsageError) in try SampleNumbers.parse(text, flag: "--sample") } ?? []
    let count = try await connection.client().retry(job.id, samples: samples)
    if json { return try JSONLines.write(JSONLines.Retried(job: "\(job.id)", samples: count)) }
    guard count > 0 else { throw Failure("job \(job.id) has no such samples that failed for good") }
    Output.line("job \(job.id): \(count) samples are tried again")
  }
}
