package import Wire

/// A change of the broker's durable state. The core's whole memory can be rebuilt from the records it persisted.
package enum Record: Sendable {
  /// A worker announced a pipeline that was not known.
  case pipeline(PipelineInfo)
  case pipelineForgotten(digest: [UInt8])
  case accepted(JobRecord)
  /// An attempt has begun.
  case leased(TaskRef)
  /// The attempt is over without a result. `failures`: attempts in a row that failed without progress.
  case released(TaskID, failures: UInt32)
  /// The count of failures turned out to be another.
  case failuresCounted(TaskID, failures: UInt32)
  /// Replaces the task's previous checkpoint.
  case checkpoint(TaskID, CheckpointRecord, [WireTensor])
  case checkpointDropped(TaskID)
  /// The sample moves on. Its checkpoint and the previous stage's output are no longer needed.
  case stageDone(TaskID, StageOutcome, output: WireTensor)
  /// The same, but the output is a draft that the next stage takes up at once: it need not be written while it is in memory, for it can be made
  /// again.
  case draftDone(TaskID, StageOutcome, output: WireTensor)
  /// The output of a stage that ended by `draftDone` is to be written after all.
  case draftKept(TaskID, StageOutcome, output: WireTensor)
  /// The sample is given up; its checkpoint is no longer needed.
  case sampleFailed(JobID, sample: UInt32, reason: String)
  /// The sample begins anew, after this attempt at its first stage; what it has so far is lost or no longer needed.
  case restarted(TaskRef)
  /// Every sample is finished, failed or cancelled. Only the final tensors of finished samples are still needed.
  case finished(JobID, JobState, unixMilliseconds: UInt64)
  /// The job and all of its tensors are no longer needed.
  case forgotten(JobID)
  /// The job's samples are not held any more; these were cancelled instead, and their tensors are no longer needed.
  case chosen(JobID, cancelled: [UInt32])
  /// These tasks had failed, in these last attempts, and wait again. If the job had ended, it goes on.
  case retried(JobID, [TaskRef])
  /// An attempt is over: for the job's history.
  case attempted(JobID, Attempt)
  /// The worker gets no work any more.
  case quarantined(name: String, boot: UInt64, reason: String)
  /// It was in quarantine, and is forgotten.
  case pardoned(name: String, boot: UInt64)
}

package struct JobRecord: Hashable, Sendable {
  package var id: JobID
  /// Order of submission.
  package var sequence: UInt64
  package var pipeline: [UInt8]
  package var key: String
  /// Of every stage, nothing absent.
  package var options: [StageOptions]
  package var truncated: Bool
  package var submittedUnixMilliseconds: UInt64
  package var samples: [SampleSeed]
  package var terms: JobTerms

  package init(
    id: JobID, sequence: UInt64, pipeline: [UInt8], key: String, options: [StageOptions], truncated: Bool,
    submittedUnixMilliseconds: UInt64, samples: [SampleSeed], terms: JobTerms = JobTerms()
  ) {
    self.id = id
    self.sequence = sequence
    self.pipeline = pipeline
    self.key = key
    self.options = options
    self.truncated = truncated
    self.submittedUnixMilliseconds = submittedUnixMilliseconds
    self.samples = samples
    self.terms = terms
  }
}

package struct SampleSeed: Hashable, Sendable {
  package var label: UInt32
  package var seed: UInt64

  package init(label: UInt32, seed: UInt64) {
    self.label = label
    self.seed = seed
  }
}

package struct CheckpointRecord: Hashable, Sendable {
  /// Steps finished.
  package var step: UInt32
  /// A task goes on from a checkpoint only in the numerics class that made it.
  package var numerics: String
  package var bytes: UInt64

  package init(step: UInt32, numerics: String, bytes: UInt64) {
    self.step = step
    self.numerics = numerics
    self.bytes = bytes
  }
}

/// How a stage of a sample ended.
package struct StageOutcome: Hashable, Sendable {
  package var digest: ContentDigest
  package var numerics: String
  package var bytes: UInt64

  package init(digest: ContentDigest, numerics: String, bytes: UInt64) {
    self.digest = digest
    self.numerics = numerics
    self.bytes = bytes
  }
}
