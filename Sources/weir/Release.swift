import ArgumentParser
import Client
import Wire

struct Release: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Chooses which held samples of a job go on; the others are cancelled.",
    discussion: """
      A job submitted with --hold-after STAGE waits after that stage. 'weir fetch JOB --stage STAGE --out FOLDER' writes what its samples \
      look like there.

      --json prints job, and in samples: kept, cancelled.
      """)

  @OptionGroup var connection: BrokerOptions

  @Argument(help: "The job's number, 16 hexadecimal digits.")
  var job: JobArgument

  @Option(help: ArgumentHelp("Samples that go on, counted from 0: 0,3,5-7.", valueName: "list"))
  var keep: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() async throws {
    let choice = try await connection.client().release(job.id, keep: try SampleNumbers.parse(keep, flag: "--keep"))
    if json { return try JSONLines.write(JSONLines.Released(job: "\(job.id)", kept: choice.kept, cancelled: choice.cancelled)) }
    Output.line("job \(job.id): \(choice.kept) samples go on, \(choice.cancelled) cancelled")
  }
}
