/// What a broker allows, and how long it waits.
package struct BrokerLimits: Hashable, Sendable {
  /// A peer beats at least this often.
  package var beatMilliseconds: UInt32 = 1_000
  /// A worker that is silent this long is gone.
  package var deadMilliseconds: UInt32 = 5_000
  /// Workers send a task's state this often; 0: never.
  package var checkpointMilliseconds: UInt32 = 2_000
  /// A task that takes no step for this long while its worker beats is taken away from it, if its stage's steps were not measured yet; …
  package var stallMilliseconds: UInt32 = 300_000
  /// … if they were, one that takes no step for this many times as long as a step of the whole batch takes, but at least …
  package var stallSteps = 20.0
  /// … this long.
  package var leastStallMilliseconds: UInt32 = 30_000
  /// A failed task is tried again after about this long, and after twice as long from failure to failure up to the other.
  package var firstRetryMilliseconds: UInt32 = 200
  package var longestRetryMilliseconds: UInt32 = 30_000
  /// Of checkpoints that a worker sends; 0: no limit.
  package var checkpointBytesPerSecond: UInt64 = 32 << 20
  /// How long after a restart work that was leased before waits for its worker to come back.
  package var graceMilliseconds: UInt32 = 5_000
  /// A task is given up after this many failures in a row without a new checkpoint between them, and a sample whose tensors the disk damages once
  /// it has begun anew this often.
  package var maxAttempts: UInt32 = 5
  package var maxSamplesPerJob: UInt32 = 10_000
  /// Stages still to be done, over all samples of all jobs.
  package var maxOpenTasks = 200_000
  /// The same of one tenant's jobs.
  package var maxOpenTasksPerTenant = 200_000
  /// For those that are named, instead of that.
  package var maxOpenTasksByTenant: [String: Int] = [:]
  /// Of what a priority class gets, tenants get parts in proportion to these; those that are not named have the weight 1.
  package var weights: [String: Double] = [:]
  package static let weightRange = 0.001...1_000_000
  /// A stage gets no more work while this many samples per slot wait for the next stage, …
  package var waitingPerSlot = 4
  /// … or, be there slots or not, outputs of this size.
  package var waitingBytes: UInt64 = 256 << 20
  package var maxWorkers = 10_000
  package var maxSlotsPerWorker: UInt32 = 1_024
  /// A worker is given no more tensor bytes at a time than this, or than one task takes, whatever it asks for.
  package var maxBytesPerWorker: UInt64 = 128 << 20
  package var maxPipelines = 64
  package var maxWatches = 10_000
  package var maxWatchesPerClient = 1_000
  /// A watched job that does not change is told of this often, which shows whether its watchers are still there.
  package var quietMilliseconds: Int64 = 30_000
  /// Tasks of lost workers that are remembered in case they come back.
  package var maxBlamedTasks = 16_384
  /// Workers in quarantine; of more the oldest is forgotten, which most likely has ended long ago.
  package var maxQuarantined = 1_000
  package var maxCheckpointBytes: UInt64 = 64 << 20
  /// Finished jobs are forgotten, oldest first, while there is more than one and they exceed one of these.
  package var keptSamples = 100_000
  package var keptBytes: UInt64 = 32 << 30
  /// A job that ended longer ago than this is forgotten; `nil`: age does not matter.
  package var keptMilliseconds: UInt64?
  /// What an overloaded broker asks a client to wait.
  package var retryMilliseconds: UInt32 = 1_000
  /// At most one event of a job in this time.
  package var eventMilliseconds: Int64 = 100

  package init() {}
}
