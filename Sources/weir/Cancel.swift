import ArgumentParser
import Client
import Wire

struct Cancel: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Stops a job: what runs ends at its next step.",
    discussion: "--json prints job, and in samples: queued (had no work in hand), stopped (were running), too_late (were finished).")

  @OptionGroup var connection: BrokerOptions

  @Argument(help: "The job's number, 16 hexadecimal digits.")
  var job: JobArgument

  @Flag(help: "Print JSON.")
  var json = false

  func run() async throws {
    let done = try await connection.client().cancel(job.id)
    if json {
      return try JSONLines.write(
        JSONLines.Cancelled(job: "\(job.id)", queued: done.queued, stopped: done.stopped, tooLate: done.tooLate))
    }
    Output.line("job \(job.id): \(done.queued) queued samples dropped, \(done.stopped) running ones stopped, \(done.tooLate) were finished")
  }
}
