package import Tensors

/// One session of a run: where its files are, how long it goes on, and what it reports.
package struct TrainingOptions: Sendable {
  /// The run's folder: metrics, grids, checkpoints, caches.
  package var out: String
  package var data: String
  /// A folder of low-resolution inputs, see `RedrawnInputs`.
  package var redrawn: String?
  /// Continues the run in `out`.
  package var resume = false
  /// Weights to start a new run from.
  package var initialWeights: String?
  /// Where the averaged weights go at every checkpoint and at the end.
  package var export: String?
  /// Training time and steps of the whole run, over all its sessions.
  package var maxMinutes: Double?
  package var maxSteps: Int?
  /// Steps between two sheets of samples; 0 for none.
  package var sampleEvery = 1000
  package var checkpointMinutes = 10.0
  package var device = Device.cpu
  /// What convolutions and matrix products are computed in; weights and their averages are f32.
  package var dtype = DType.bf16
  package var threads = 2
  /// Where several processes train together; `nil`: one alone.
  package var place: ProcessPlace?
  /// How long the others are waited for, at the start and in every step.
  package var patience = Duration.seconds(600)

  package init(out: String, data: String) {
    self.out = out
    self.data = data
  }

  package func validate() throws(TrainingError) {
    func require(_ condition: Bool, _ message: String) throws(TrainingError) {
      if !condition { throw TrainingError(.options, message) }
    }
    try require(maxMinutes.map { $0 > 0 } ?? true, "--max-minutes: above 0")
    try require(maxSteps.map { $0 > 0 } ?? true, "--max-steps: above 0")
    try require(sampleEvery >= 0, "--sample-every: not below 0")
    try require(checkpointMinutes > 0, "--checkpoint-minutes: above 0")
    try require((1...256).contains(threads), "--threads: 1 to 256")
    try require(dtype == .bf16 || dtype == .f32, "--dtype: bf16 or f32")
    try require(!(resume && initialWeights != nil), "--init starts a new run, --resume goes on with one: give one of them")
  }
}
