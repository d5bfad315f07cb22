import ArgumentParser
import Client
import Foundation
import Wire

struct Fetch: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes the images of a job that are finished, and a contact sheet.",
    discussion: """
      With --stage what the samples look like after that stage is written as JOB-INDEX-STAGE.png, for those that have passed it and not \
      the next one: of a job that is held there, all.

      --json prints an object with event "image" for each (as 'weir submit --json').
      """)

  @OptionGroup var connection: BrokerOptions

  @Argument(help: "The job's number, 16 hexadecimal digits.")
  var job: JobArgument

  @Option(help: ArgumentHelp("Where to.", valueName: "folder"))
  var out: String

  @Option(help: ArgumentHelp("Write the outputs of this stage instead.", valueName: "stage"))
  var stage: String?

  @Flag(help: "Print JSON lines.")
  var json = false

  func run() async throws {
    let folder = try ImageFolder(out)
    let client = try connection.client()
    try await interruptible {
      let status = try await client.status(of: job.id)
      var follower = JobFollower(client: client, job: job.id, folder: folder, reporter: JobReporter(json: json))
      if let stage {
        guard try await follower.saveDrafts(status, after: stage) > 0 else {
          throw Failure("no sample of job \(job.id) is between stage \(stage) and the end of the next")
        }
        return
      }
      let count = try await follower.saveFinished(status)
      guard count > 0 else { throw Failure("job \(job.id) has no finished image yet: 'weir watch \(job.id) --out \(out)' waits for them") }
      if count < status.samples { follower.reporter.note("\(count) of \(status.samples) images: the others are not finished") }
    }
  }
}
