package import Logging
package import Wire
package import ZeroMQ

/// What a broker does about an event. All records of one turn are committed before any message of that turn leaves.
package enum Action: Sendable {
  case persist(Record)
  case reply(PeerID, request: UInt64, ClientReply)
  /// Read the output of a stage of the sample from the journal and send it.
  case image(PeerID, request: UInt64, ImageOrder)
  /// Read the job's history from the journal, from this sample on, and send it with the attempts that go on.
  case history(PeerID, request: UInt64, JobID, from: UInt32, running: [Attempt])
  case command(PeerID, WorkerCommand)
  /// Read the assignment's tensors from the journal and send it.
  case assign(PeerID, AssignOrder)
  /// Deliver `tick` at this time of the monotonic clock, instead of at any time asked for before.
  case wake(atMilliseconds: Int64)
  case log(Logger.Level, String)
}

/// The output of one finished stage of one sample.
package struct TensorKey: Hashable, Sendable {
  package var job: JobID
  package var sample: UInt32
  package var stage: UInt32

  package init(job: JobID, sample: UInt32, stage: UInt32) {
    self.job = job
    self.sample = sample
    self.stage = stage
  }
}

/// An `Assignment` whose tensors are still on disk.
package struct AssignOrder: Hashable, Sendable {
  package var task: TaskRef
  package var label: UInt32
  package var seed: UInt64
  package var options: [StageOptions]
  package var truncated: Bool
  /// The previous stage's output; `nil` in the first stage.
  package var input: TensorKey?
  /// Steps finished by the checkpoint to go on from; `nil`: from the beginning.
  package var checkpointStep: UInt32?
}

/// A `FinishedImage` whose tensor is still on disk.
package struct ImageOrder: Hashable, Sendable {
  package var key: TensorKey
  package var label: UInt32
  package var seed: UInt64
  package var digest: ContentDigest
  package var numerics: String
  package var stage: String
  /// Who asked for it.
  package var asker: CurvePublicKey?
}
