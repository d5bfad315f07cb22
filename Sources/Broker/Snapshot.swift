package import Wire

/// The broker's durable state, as read back at start.
package struct Snapshot: Hashable, Sendable {
  package var pipelines: [PipelineInfo]
  package var jobs: [JobSnapshot]

  package init(pipelines: [PipelineInfo] = [], jobs: [JobSnapshot] = []) {
    self.pipelines = pipelines
    self.jobs = jobs
  }
}

package struct JobSnapshot: Hashable, Sendable {
  package var record: JobRecord
  /// As many as the record has, in order.
  package var samples: [SampleSnapshot]
  package var ending: JobEnding?

  package init(record: JobRecord, samples: [SampleSnapshot], ending: JobEnding? = nil) {
    self.record = record
    self.samples = samples
    self.ending = ending
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

  package init(
    attempt: UInt32 = 0, failures: UInt32 = 0, isLeased: Bool = false, checkpoint: CheckpointRecord? = nil,
    outcomes: [StageOutcome] = [], error: String? = nil
  ) {
    self.attempt = attempt
    self.failures = failures
    self.isLeased = isLeased
    self.checkpoint = checkpoint
    self.outcomes = outcomes
    self.error = error
  }
}
