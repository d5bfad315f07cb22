import ArgumentParser
import Client
import Foundation
import Wire

struct Status: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows a job, or all of them.",
    discussion: """
      --json prints {"jobs": [...]} or, of one job, the job itself: job, state (queued, running, held, done, failed, cancelled, expired), pipeline, \
      digest, samples, done, truncated, submitted_ms, finished_ms, stages (stage, queued, running, done, failed, steps_done, \
      steps_total, held), options (stage, steps, sampler, eta, aug), details (index, label, label_name, seed, state, stage, attempts, error), \
      tenant, priority, deadline_ms, hold_after, reason (of its expiry) and history (sample, stage, attempt, worker, numerics, state, \
      started_ms, ended_ms, first_step, last_step, step_ms, reason, digest). --dead prints {"jobs": [...]} too, with the failed samples as \
      details.
      """)

  @OptionGroup var connection: BrokerOptions

  @Argument(help: "The job's number, 16 hexadecimal digits; default: every job.")
  var job: JobArgument?

  @Option(help: ArgumentHelp("Show at most the newest N jobs.", valueName: "n"))
  var limit: UInt32 = 20

  @Flag(help: "Show the samples of all jobs that failed for good; 'weir retry' tries them again.")
  var dead = false

  @Flag(help: "Show all of a job's history: who worked on it, and when.")
  var history = false

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    guard limit > 0 else { throw ValidationError("--limit 0: give 1 or more.") }
    guard job == nil || !dead else { throw ValidationError("--dead lists the failed samples of all jobs: leave out JOB.") }
    guard job != nil || !history else { throw ValidationError("--history is of one job: name it.") }
  }

  func run() async throws {
    let client = try connection.client()
    if let job {
      let status = try await client.status(of: job.id)
      let attempts = try await Self.history(of: job.id, with: client, all: json || history)
      if json {
        var line = JSONLines.Job(status)
        line.history = attempts.map { JSONLines.Attempt($0, stages: status.stages) }
        return try JSONLines.write(line)
      }
      for line in StatusText.job(status, now: Self.now) { Output.line(line) }
      for line in StatusText.history(attempts, of: status, now: Self.now, limit: history ? .max : 20) { Output.line(line) }
    } else if dead {
      let jobs = try await client.deadJobs(limit: limit)
      if json { return try JSONLines.write(["jobs": jobs.map { JSONLines.Job($0) }]) }
      for line in StatusText.dead(jobs) { Output.line(line) }
    } else {
      let jobs = try await client.jobs(limit: limit)
      if json { return try JSONLines.write(["jobs": jobs.map { JSONLines.Job($0) }]) }
      for line in StatusText.list(jobs, now: Self.now) { Output.line(line) }
    }
  }

  /// Part by part, as the broker sends it.
  private static func history(of job: JobID, with client: WeirClient, all: Bool) async throws -> [Attempt] {
    var attempts: [Attempt] = []
    while true {
      let part = try await client.history(of: job, from: attempts.last?.sample ?? 0)
      // The sample that was cut comes again, whole.
      let known = attempts.last?.sample
      attempts.removeAll { $0.sample == known }
      attempts += part
      guard all, let last = part.last?.sample, last != known else { return attempts }
    }
  }

  private static var now: UInt64 { UInt64(max(0, Date().timeIntervalSince1970 * 1000)) }
}
