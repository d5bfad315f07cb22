import CProtobufC

/// What unpacking one message may allocate. protobuf-c takes memory for every field it finds, so that a small hostile message could ask
/// for far more than its own size.
struct UnpackBudget {
  /// Bytes held at a time.
  var bytes: Int
  /// Allocations in all, which bounds the time too.
  var allocations: Int
  /// Something was refused.
  fileprivate(set) var exhausted = false

  /// Enough for any message of `WireLimits`, several times over.
  static let message = UnpackBudget(bytes: 2 << 20, allocations: 1 << 16)

  init(bytes: Int, allocations: Int) {
    self.bytes = bytes
    self.allocations = allocations
  }
}

/// Unpacks the bytes with `unpack` and hands the message to `body`; it is freed afterwards.
func withUnpacked<Message, Result>(
  _ bytes: UnsafeRawBufferPointer, _ name: String, budget: UnpackBudget = .message,
  unpack: (UnsafeMutablePointer<ProtobufCAllocator>?, Int, UnsafePointer<UInt8>?) -> UnsafeMutablePointer<Message>?,
  free: (UnsafeMutablePointer<Message>?, UnsafeMutablePointer<ProtobufCAllocator>?) -> Void,
  _ body: (Message) throws(WireError) -> Result
) throws(WireError) -> Result {
  let available = budget.bytes
  let budget = UnsafeMutablePointer<UnpackBudget>.allocate(capacity: 1, initialisedTo: budget)
  defer {
    assert(budget.pointee.bytes == available, "protobuf-c has kept some memory")
    budget.deallocate()
  }
  var allocator = ProtobufCAllocator(alloc: allocateWithinBudget, free: freeWithinBudget, allocator_data: budget)
  // protobuf-c takes a null pointer for "no data" but not for "data of length 0".
  var empty: UInt8 = 0
  let message = withUnsafePointer(to: &empty) { placeholder in
    unpack(&allocator, bytes.count, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) ?? placeholder)
  }
  guard let message else {
    if budget.pointee.exhausted { throw WireError(.tooLarge, "the \(name) needs more memory than a message may take") }
    throw WireError(.malformed, "the \(name) is not a valid protobuf message")
  }
  defer { free(message, &allocator) }
  return try body(message.pointee)
}

extension UnsafeMutablePointer {
  fileprivate static func allocate(capacity: Int, initialisedTo value: Pointee) -> Self {
    let pointer = allocate(capacity: capacity)
    pointer.initialize(repeating: value, count: capacity)
    return pointer
  }
}

/// Before each block, so that freeing it gives its bytes back; as wide as the strictest alignment.
private let blockHeader = 16

private func allocateWithinBudget(_ data: UnsafeMutableRawPointer?, _ size: Int) -> UnsafeMutableRawPointer? {
  guard let budget = data?.assumingMemoryBound(to: UnpackBudget.self) else { return nil }
  guard size >= 0, budget.pointee.allocations > 0, size <= budget.pointee.bytes - blockHeader else {
    budget.pointee.exhausted = true
    return nil
  }
  budget.pointee.allocations -= 1
  budget.pointee.bytes -= size + blockHeader
  let block = UnsafeMutableRawPointer.allocate(byteCount: size + blockHeader, alignment: blockHeader)
  block.storeBytes(of: size, as: Int.self)
  return block + blockHeader
}

private func freeWithinBudget(_ data: UnsafeMutableRawPointer?, _ pointer: UnsafeMutableRawPointer?) {
  guard let budget = data?.assumingMemoryBound(to: UnpackBudget.self), let pointer else { return }
  let block = pointer - blockHeader
  budget.pointee.bytes += block.load(as: Int.self) + blockHeader
  block.deallocate()
}
