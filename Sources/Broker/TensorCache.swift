import DequeModule
import Wire
import ZeroMQ

/// The stage outputs written last: most are read again at once, by the next stage's worker or by the client.
struct TensorCache {
  private var tensors: [TensorKey: WireTensor] = [:]
  /// In order of their writing.
  private var order: Deque<TensorKey> = []
  private var bytes = 0
  private let limit: Int

  /// - Parameter limit: bytes of tensor data held at most.
  init(limit: Int) { self.limit = limit }

  subscript(key: TensorKey) -> WireTensor? { tensors[key] }

  mutating func insert(_ tensor: WireTensor, for key: TensorKey) {
    guard tensor.data.count <= limit, tensors.updateValue(tensor, forKey: key) == nil else { return }
    order.append(key)
    bytes += tensor.data.count
    while bytes > limit, let oldest = order.popFirst() {
      bytes -= tensors.removeValue(forKey: oldest)?.data.count ?? 0
    }
  }
}
