import CTorchBridge

/// What concerns the library or the calling thread rather than one tensor.
package enum Torch {
  /// LibTorch's version, for example `2.13.0`.
  package static var version: String { String(cString: wt_version()) }

  /// The instruction set LibTorch's own kernels use here, for example `AVX512`.
  package static var cpuCapability: String { String(cString: wt_cpu_capability()) }

  /// Whether this processor multiplies bf16 and adds in f32. Elsewhere products of bf16 are formed in f32.
  package static var multipliesBF16: Bool { wt_multiplies_bf16() }

  package static var isCUDAAvailable: Bool { wt_cuda_available() }

  /// Tensor and mode handles alive in the bridge; returns to its start value when nothing leaks.
  package static var liveHandles: Int { Int(wt_live_handles()) }

  /// Threads that one operation may use; process-wide, each thread takes it over at its next call here.
  package static var threads: Int { Int(wt_threads()) }

  package static func setThreads(_ count: Int) throws(TorchError) {
    try check("setThreads", wt_set_threads(Int32(clamping: count)))
  }

  /// Keeps memory that is freed for the allocations to come: each step of a network frees as much as the next one wants, and pages that
  /// went back to the system in between would have to be fetched and zeroed again, which takes a tenth of the step.
  ///
  /// For the whole process, and fully only before it starts threads.
  package static func keepFreedMemory() { wt_keep_freed_memory() }

  /// Seeds LibTorch's global generators, which only `dropout` uses here.
  package static func manualSeed(_ seed: UInt64) throws(TorchError) {
    try check("manualSeed", wt_manual_seed(seed))
  }

  /// Runs `body` without recording for gradients, on this thread.
  package static func withoutGradients<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try within({ wt_mode_begin(WT_NO_GRADIENTS, nil, WT_F32, $0) }, body)
  }

  /// Runs `body` in inference mode: cheaper than `withoutGradients`, but its tensors can never take part in training.
  package static func inferenceMode<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try within({ wt_mode_begin(WT_INFERENCE, nil, WT_F32, $0) }, body)
  }

  /// Runs `body` with every operation of LibTorch's of this thread on this thread alone, whatever `threads` says.
  ///
  /// - Parameter kernelThreads: how many our own kernels take, whose bytes don't depend on it.
  package static func onOneThread<Result, Failure: Error>(
    kernelThreads: Int = 1, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try within({ wt_one_thread_begin(Int32(clamping: kernelThreads), $0) }, body)
  }

  /// Runs `body` with convolutions and matrix products computed in `dtype` (bf16, f16) though their inputs and weights are f32;
  /// weights are cast once until the outermost block ends, so optimiser steps belong outside.
  package static func autocast<Result>(
    _ dtype: DType, device: Device = .cpu, _ body: () throws -> Result
  ) throws -> Result {
    var mode: OpaquePointer?
    try check("autocast", wt_mode_begin(WT_AUTOCAST, device.name, dtype.raw, &mode))
    defer { wt_mode_end(mode) }
    return try body()
  }

  /// Runs `body` and counts the most bytes that tensors made in it on this thread took at a time.
  package static func peakMemory<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> (result: Result, bytes: Int) {
    var meter: OpaquePointer?
    // Fails only for want of memory, and then the body fails too.
    wt_meter_begin(&meter)
    do {
      let result = try body()
      return (result, Int(wt_meter_end(meter)))
    } catch {
      _ = wt_meter_end(meter)
      throw error
    }
  }

  private static func within<Result, Failure: Error>(
    _ begin: (UnsafeMutablePointer<OpaquePointer?>) -> wt_status, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    var mode: OpaquePointer?
    // These modes can't fail to begin but for want of memory, and then the body fails too.
    _ = begin(&mode)
    defer { wt_mode_end(mode) }
    return try body()
  }
}
