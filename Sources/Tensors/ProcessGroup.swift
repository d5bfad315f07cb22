import CTorchBridge

/// Processes that train together, each on a part of a step's examples: LibTorch's c10d over gloo.
///
/// Every method is a meeting: all processes call the same ones in the same order, and none returns before all have called it. It fails at once when
/// another process has ended, and after the timeout when one hangs or the network is cut. Nothing is encrypted, and nobody is asked who they are.
package final class ProcessGroup {
  /// From 0.
  package let rank: Int
  package let count: Int
  private let handle: OpaquePointer

  /// Waits for all `count` processes.
  ///
  /// - Parameters:
  ///   - host: where the process of rank 0 listens, at `port`. Later connections go to ports of the system's choice.
  ///   - timeout: of this and of every later meeting.
  package init(host: String, port: UInt16, rank: Int, count: Int, timeout: Duration) throws(TorchError) {
    self.rank = rank
    self.count = count
    var out: OpaquePointer?
    let milliseconds = Int64(timeout / .milliseconds(1))
    try check("ProcessGroup", wt_group_join(host, port, Int32(clamping: rank), Int32(clamping: count), milliseconds, &out))
    guard let out else { throw TorchError(operation: "ProcessGroup", message: "the bridge gave no group") }
    handle = out
  }

  deinit {
    wt_group_leave(handle)
  }

  /// Puts the mean over all processes in the place of each parameter's gradient, summed in f32 and equal to the last bit in every process; returns
  /// that of `value`.
  package func averageGradients(of parameters: [Tensor], and value: Double) throws(TorchError) -> Double {
    var value = value
    let status = Tensor.withHandles(parameters) { wt_group_average_gradients(handle, $0, $1, &value) }
    try check("averageGradients", status)
    return value
  }

  /// What each process gave, by rank.
  package func gather(_ value: Double) throws(TorchError) -> [Double] {
    var values = [Double](repeating: 0, count: count)
    try check("gather", wt_group_gather(handle, value, &values, count))
    return values
  }
}
