import Digests
import Foundation
package import Wire

/// What `--json` prints. These names are an interface: they may get company, but don't change.
///
/// Jobs are 16 hexadecimal digits, digests 64; times are milliseconds since 1970 (UTC). What isn't known is left out.
package enum JSONLines {
  /// `weir submit`: the job was accepted.
  struct Accepted: Encodable {
    var event = "accepted"
    var job: String
    var samples: UInt32
    /// The key was known: this is the job it made.
    var duplicate: Bool
    var key: String
  }

  /// `weir status`, and the events `progress` and `finished` of `submit` and `watch`.
  struct Job: Encodable {
    struct Stage: Encodable {
      var stage: String
      var queued, running, done, failed: UInt32
      var stepsDone, stepsTotal: UInt64
      /// Wait before the stage to be released.
      var held: UInt32
    }

    struct Sample: Encodable {
      var index, label: UInt32
      var labelName: String?
      var seed: UInt64
      /// `queued`, `running`, `done`, `failed`, `cancelled` or `held`.
      var state: String
      /// The stage it is in.
      var stage: String?
      var attempts: UInt32
      var error: String?
    }

    struct Options: Encodable {
      var stage: String
      var steps: UInt32?
      var sampler: String?
      var eta: Double?
      var aug: UInt32?
      var guidance: Double?
    }

    var event: String?
    var job: String
    var state: String
    var pipeline: String
    var digest: String
    var samples: UInt32
    /// Samples that passed the last stage.
    var done: UInt32
    var truncated: Bool
    var submittedMs: UInt64
    var finishedMs: UInt64?
    var stages: [Stage]
    /// As resolved; not in progress events.
    var options: [Options]?
    /// The first 1,000 samples; only where one job was asked for.
    var details: [Sample]?
    var tenant, priority: String
    var deadlineMs: UInt64?
    /// Not once the samples were released.
    var holdAfter: String?
    /// Why it expired.
    var reason: String?
    /// Only of `weir status JOB`.
    var history: [Attempt]?
  }

  /// `weir submit`, `watch` and `fetch` with `--out`: an image was written.
  struct Image: Encodable {
    var event = "image"
    var job: String
    var sample, label: UInt32
    var labelName: String?
    var seed: UInt64
    /// Of the tensor the image was made of.
    var digest: String
    var numerics: String
    var path: String
  }

  /// Of `weir status JOB`: one worker's go at one stage of a sample.
  struct Attempt: Encodable {
    var sample: UInt32
    var stage: String
    var attempt: UInt32
    var worker, numerics: String
    /// `running`, `done`, `failed`, or `cancelled`: stopped or handed back.
    var state: String
    var startedMs: UInt64
    var endedMs: UInt64?
    var firstStep, lastStep: UInt32
    var stepMs: Double?
    var reason: String?
    /// SHA-256 of its result, if that is the one that was kept.
    var digest: String?
  }

  /// `weir release`, in samples.
  struct Released: Encodable {
    var job: String
    var kept, cancelled: UInt32
  }

  /// `weir retry`.
  struct Retried: Encodable {
    var job: String
    var samples: UInt32
  }

  /// `weir cancel`, in samples.
  struct Cancelled: Encodable {
    var job: String
    var queued, stopped, tooLate: UInt32
  }

  /// `weir workers`.
  struct Worker: Encodable {
    var name, stage, pipeline, digest, numerics: String
    var slots, running: UInt32
    var finished: UInt64
    var stepMs: Double?
    var silentMs: UInt32
    var host: String
    var pid: UInt32
    /// Why it gets no work.
    var quarantine: String?
  }

  /// One line on standard output.
  static func write(_ value: some Encodable) throws { Output.line(try text(value)) }

  package static func text(of status: JobStatus) throws -> String { try text(Job(status)) }

  private static func text(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }
}

extension JSONLines.Job {
  init(_ status: JobStatus, event: String? = nil, withDetails: Bool = true) {
    self.init(
      event: event, job: "\(status.job)", state: status.state.word, pipeline: status.pipeline, digest: hex(status.digest),
      samples: status.samples, done: status.finishedSamples, truncated: status.truncated, submittedMs: status.submittedUnixMilliseconds,
      finishedMs: status.finishedUnixMilliseconds,
      stages: status.stages.map {
        Stage(
          stage: $0.stage, queued: $0.queued, running: $0.running, done: $0.done, failed: $0.failed, stepsDone: $0.stepsDone,
          stepsTotal: $0.stepsTotal, held: $0.held)
      },
      options: status.options.isEmpty
        ? nil
        : status.options.map {
          Options(stage: $0.stage, steps: $0.steps, sampler: $0.sampler, eta: $0.eta, aug: $0.aug, guidance: $0.guidance)
        },
      details: withDetails && !status.details.isEmpty
        ? status.details.map {
          Sample(
            index: $0.index, label: $0.label, labelName: status.labelName($0.label), seed: $0.seed, state: $0.state.word, stage: $0.stage,
            attempts: $0.attempts, error: $0.error)
        } : nil,
      tenant: status.tenant, priority: status.priority.word, deadlineMs: status.deadlineUnixMilliseconds, holdAfter: status.holdAfter,
      reason: status.reason)
  }
}

extension JSONLines.Attempt {
  init(_ attempt: Attempt, stages: [StageStatus]) {
    self.init(
      sample: attempt.sample, stage: Int(attempt.stage) < stages.count ? stages[Int(attempt.stage)].stage : "\(attempt.stage)",
      attempt: attempt.number, worker: attempt.worker, numerics: attempt.numerics, state: attempt.state.word,
      startedMs: attempt.startedUnixMilliseconds, endedMs: attempt.endedUnixMilliseconds, firstStep: attempt.firstStep,
      lastStep: attempt.lastStep, stepMs: attempt.stepMilliseconds, reason: attempt.reason, digest: attempt.digest.map { hex($0) })
  }
}

extension Priority {
  package var word: String {
    switch self {
    case .low: "low"
    case .normal: "normal"
    case .high: "high"
    }
  }
}

extension JSONLines.Worker {
  init(_ worker: WorkerStatus) {
    self.init(
      name: worker.name, stage: worker.stage, pipeline: worker.pipeline, digest: hex(worker.digest), numerics: worker.numerics,
      slots: worker.slots, running: worker.running, finished: worker.finished, stepMs: worker.stepMilliseconds,
      silentMs: worker.silentMilliseconds, host: worker.host, pid: worker.pid, quarantine: worker.quarantine)
  }
}

extension JobStatus {
  /// `nil` where the broker sent no names.
  func labelName(_ label: UInt32) -> String? { Int(label) < labels.count ? labels[Int(label)] : nil }
}
