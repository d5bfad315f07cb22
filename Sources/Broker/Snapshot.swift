package import Wire

/// The broker's durable state, as read back at start.
package struct Snapshot: Hashable, Sendable {
  package var pipelines: [PipelineInfo]
  package var jobs: [JobSnapshot]
  package var quarantined: [QuarantineRecord]

  package init(pipelines: [PipelineInfo] = [], jobs: [JobSnapshot] = [], quarantined: [QuarantineRecord] = []) {
    self.pipelines = pipelines
    self.jobs = jobs
    self.quarantined = quarantined
  }
}

/// A worker process that gets no work.
package struct QuarantineRecord: Hashable, Sendable {
  package var name: String
  package var boot: UInt64
  package var reason: String

  package init(name: String, boot: UInt64, reason: String) {
    self.name = name
    self.boot = boot
    self.reason = reason
  }
}

package struct JobSnapshot: Hashable, Sendable {
  package var record: JobRecord
  /// As many as the record has, in order.
  package var samples: [SampleSnapshot]
  package var ending: JobEnding?
  /// Its samples are not held any more.
  package var isChosen: Bool

  package init(record: JobRecord, samples: [SampleSnapshot], ending: JobEnding? = nil, isChosen: Bool = false) {
    self.record = record
    self.samples = samples
    self.ending = ending
    self.isChosen = isChosen
  }
}

package struct JobEnding: Hashable, Sendable {
  package var state: JobState
  package var unixMilliseconds: UInt64

  package init(state: JobState, unixMilliseconds: UInt64) {
    self.state = state
    self.unixMilliseconds = unixMilliseconds
  }
}

package struct SampleSnapshot: Hashable, Sendable {
  /// The last attempt of the current stage that was leased; 0: none.
  package var attempt: UInt32
  package var failures: UInt32
  package var isLeased: Bool
  package var checkpoint: CheckpointRecord?
  /// Of the stages it has passed; its current stage is their count.
  package var outcomes: [StageOutcome]
  /// Why it was given up.
  package var error: String?
  /// It was not chosen to go on.
  package var isCancelled: Bool

  package init(
    attempt: UInt32 = 0, failures: UInt32 = 0, isLeased: Bool = false, checkpoint: CheckpointRecord? = nil,
    outcomes: [StageOutcome] = [], error: String? = nil, isCancelled: Bool = false
  ) {
    self.attempt = attempt
    self.failures = failures
    self.isLeased = isLeased
    self.checkpoint = checkpoint
    self.outcomes = outcomes
    self.error = error
    self.isCancelled = isCancelled
  }
}
