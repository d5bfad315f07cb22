import ArgumentParser
import Client
import Foundation
import Wire

struct Status: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows a job, or all of them.",
    discussion: """
      --json prints {"jobs": [...]} or, of one job, the job itself: job, state (queued, running, done, failed, cancelled), pipeline, \
      digest, samples, done, truncated, submitted_ms, finished_ms, stages (stage, queued, running, done, failed, steps_done, \
      steps_total), options (stage, steps, sampler, eta, aug) and details (index, label, label_name, seed, state, stage, attempts, \
      error).
      """)

  @OptionGroup var connection: BrokerOptions

  @Argument(help: "The job's number, 16 hexadecimal digits; default: every job.")
  var job: JobArgument?

  @Option(help: ArgumentHelp("Show at most the newest N jobs.", valueName: "n"))
  var limit: UInt32 = 20

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    guard limit > 0 else { throw ValidationError("--limit 0: give 1 or more.") }
  }

  func run() async throws {
    let client = try connection.client()
    if let job {
      let status = try await client.status(of: job.id)
      if json { return try JSONLines.write(JSONLines.Job(status)) }
      for line in StatusText.job(status, now: Self.now) { Output.line(line) }
    } else {
      let jobs = try await client.jobs(limit: limit)
      if json { return try JSONLines.write(["jobs": jobs.map { JSONLines.Job($0) }]) }
      for line in StatusText.list(jobs, now: Self.now) { Output.line(line) }
    }
  }

  private static var now: UInt64 { UInt64(max(0, Date().timeIntervalSince1970 * 1000)) }
}
