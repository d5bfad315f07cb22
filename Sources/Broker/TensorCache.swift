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

  /// What an entry takes beside its data, about: of small tensors that is most.
  private static let entryBytes = 512

  /// - Parameter limit: bytes held at most.
  init(limit: Int) { self.limit = limit }

  subscript(key: TensorKey) -> WireTensor? { tensors[key] }

  mutating func insert(_ tensor: WireTensor, for key: TensorKey) {
    guard Self.size(tensor) <= limit, tensors.updateValue(tensor, forKey: key) == nil else { return }
    order.append(key)
    bytes += Self.size(tensor)
    while bytes > limit, let oldest = order.popFirst() {
      if let tensor = tensors.removeValue(forKey: oldest) { bytes -= Self.size(tensor) }
    }
  }

  private static func size(_ tensor: WireTensor) -> Int { tensor.data.count + entryBytes }
}
