/// What a load test came to. As JSON it is stable: fields are added, never renamed.
package struct LoadReport: Sendable, Codable {
  /// How it was asked for.
  package var pattern: String
  package var seed: UInt64
  package var duration: Double
  package var warmUp: Double
  /// Finished images a second, of those that were submitted after the warm-up, until the last of them was done or the run's duration was over.
  package var throughputPerS: Double
  /// Images that were finished between the warm-up and the end of the submissions, a second: what the fleet does while it is kept busy.
  package var steadyPerS: Double?
  /// What it could do at best: the rate of its slowest stage, whose workers never wait; `nil`: nobody knows.
  package var idealPerS: Double?
  /// The one by the other: a pipeline that is kept busy loses the rest.
  package var efficiency: Double?
  /// Tasks (stages of samples) of those images.
  package var tasksPerS: Double
  /// From the intended submission to the end, of jobs that were done.
  package var latencyMs: Percentiles
  /// What a job took beyond its steps, a stage: queues, hand-overs, commits, and waiting for the steps of others to end; `nil`: nobody knows what
  /// its steps take.
  package var hopMs: Percentiles?
  /// From the submission to the broker's acknowledgement.
  package var acceptMs: Percentiles
  package var jobs: Counts
  /// Why jobs were lost, as their clients say, each reason once; `nil`: none was.
  package var lostBecause: [String]?
  /// Of all that were submitted, the part done within three times what their kind takes alone; jobs a second.
  package var goodput: Double
  package var goodputPerS: Double
  /// Of jobs with a deadline, the part that was done; `nil`: there were none.
  package var deadlineAttainment: Double?
  /// Jain's index over the work that tenants got: 1 is equal, 1/n is one has it all; `nil`: there was one tenant.
  package var fairness: Double?
  package var tenants: [String: Tenant]
  package var kinds: [Kind]
  package var stages: [String: Stage]
  /// Of all stages and attempts, wasted ones too.
  package var stepSecondsPerImage: Double?
  package var broker: Broker?
  /// Images compared with the oracle, and those that differed.
  package var verified: Int
  package var wrong: Int
  package var wrongImages: [WrongImage]
  /// Those that were to be compared and that the broker did not have any more; `nil`: none.
  package var missing: Int?
  /// In a ramp: the rate from which on the fleet fell behind, in jobs a second; `nil`: it never did, or it was no ramp.
  package var kneePerS: Double?
  package var timeline: [Second]
  /// Who did what in the last seconds of the run.
  package var strips: [Strip]

  package struct Counts: Sendable, Codable {
    package var submitted, done, failed, expired, cancelled, refused, lost: Int
    /// Refusals that said when to try again.
    package var refusedWithRetryAfter: Int
  }

  package struct Kind: Sendable, Codable {
    package var name: String
    package var soloMs: Double
    package var latencyMs: Percentiles
    package var done, submitted: Int
  }

  package struct Tenant: Sendable, Codable {
    package var jobs, images: Int
    /// Milliseconds of computing, as the stages' median steps have it.
    package var workMs: Double
    package var latencyMs: Percentiles
  }

  package struct Stage: Sendable, Codable {
    /// From when a sample could begin this stage to when a worker got it.
    package var queueMs: Percentiles
    /// From there to its result, of attempts that gave one.
    package var computeMs: Percentiles
    package var stepMs: Double?
    package var attempts, failedAttempts: Int
    /// Part of the time in which a worker of the stage had work, and of its slots that were taken.
    package var utilisation, fill: Double
    package var workers: Double
  }

  package struct Broker: Sendable, Codable {
    package var cpuUsPerTask: Double
    package var cpu: Double
    package var residentMib: Double
  }

  package struct Second: Sendable, Codable {
    package var second: Int
    /// Jobs that should have been submitted, images that were finished, jobs refused, in this second.
    package var offered, images, refused: Int
    /// Of jobs that ended in it; `nil`: none did.
    package var p50Ms, p99Ms: Double?
    /// Of the broker, at some time in it; `nil`: not measured.
    package var brokerMib: Double?
    /// Running tasks of each stage, in the mean.
    package var running: [String: Double]
  }

  /// An attempt, in seconds from the run's start.
  package struct Strip: Sendable, Codable {
    package var stage, worker: String
    package var from, to: Double
  }
}
