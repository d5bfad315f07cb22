import ArgumentParser
import Client
import Foundation
import Wire

struct Watch: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Waits for a job that was submitted before.",
    discussion: """
      With --out its images are written as they finish, those that are finished already at once. A job that is held ends the waiting too. \
      --json as in 'weir submit'.
      """)

  @OptionGroup var connection: BrokerOptions

  @Argument(help: "The job's number, 16 hexadecimal digits.")
  var job: JobArgument

  @Option(help: ArgumentHelp("Write images and a contact sheet there.", valueName: "folder"))
  var out: String?

  @Flag(help: "Print JSON lines.")
  var json = false

  func run() async throws {
    let folder = try out.map { try ImageFolder($0) }
    let client = try connection.client()
    try await interruptible {
      // Unlike the watch, which outlasts a broker's restart, this finds out soon that there is none.
      _ = try await client.status(of: job.id)
      try await Self.follow(job.id, with: client, folder: folder, json: json)
    }
  }

  /// Waits until a job is final. Throws if it did not end well, or was interrupted.
  static func follow(_ job: JobID, with client: WeirClient, folder: ImageFolder?, json: Bool) async throws {
    var follower = JobFollower(client: client, job: job, folder: folder, reporter: JobReporter(json: json))
    let status: JobStatus
    do {
      status = try await follower.run()
    } catch  where Task.isCancelled {
      let out = folder.map { " --out \($0.path)" } ?? ""
      follower.reporter.note("the job goes on: 'weir watch \(job)\(out)' waits for it again, 'weir cancel \(job)' stops it")
      throw error
    }
    switch status.state {
    case .held:
      let stage = status.holdAfter ?? "?"
      if folder == nil { follower.reporter.note("'weir fetch \(job) --stage \(stage) --out FOLDER' writes what they look like") }
      follower.reporter.note("every sample waits after \(stage): 'weir release \(job) --keep 0,…' lets those go on and cancels the others")
    case .expired:
      let finished = "\(status.finishedSamples) of \(status.samples) samples are finished"
      throw Failure("job \(job) expired: \(status.reason ?? "its deadline has passed"); \(finished)")
    case .done where folder == nil:
      follower.reporter.note("'weir fetch \(job) --out FOLDER' writes the images")
    case .failed:
      for sample in status.details where sample.state == .failed {
        follower.reporter.note(
          "sample \(sample.index) (seed \(sample.seed)) failed in \(sample.stage ?? "?"): \(sample.error ?? "no reason given")")
      }
      let failed = status.samples - status.finishedSamples
      throw Failure("job \(job) failed: \(failed) of \(status.samples) samples could not be made")
    case .cancelled:
      throw Failure("job \(job) was cancelled")
    default: break
    }
  }
}
