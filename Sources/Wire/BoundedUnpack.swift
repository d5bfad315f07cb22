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

/// What one unpacking takes its memory from: at first a piece of the stack, where most messages fit.
private struct UnpackMemory {
  static let stackBytes = 1_024

  var budget: UnpackBudget
  var free: UnsafeMutableRawPointer
  let stack: Range<UnsafeMutableRawPointer>
}

/// Unpacks the bytes with `unpack` and hands the message to `body`; it is freed afterwards.
func withUnpacked<Message, Result>(
  _ bytes: UnsafeRawBufferPointer, _ name: String, budget: UnpackBudget = .message,
  unpack: (UnsafeMutablePointer<ProtobufCAllocator>?, Int, UnsafePointer<UInt8>?) -> UnsafeMutablePointer<Message>?,
  free: (UnsafeMutablePointer<Message>?, UnsafeMutablePointer<ProtobufCAllocator>?) -> Void,
  _ body: (Message) throws(WireError) -> Result
) throws(WireError) -> Result {
  try withMemory(budget) { (memory) throws(WireError) in
    var allocator = ProtobufCAllocator(alloc: allocateWithinBudget, free: freeWithinBudget, allocator_data: memory)
    // protobuf-c takes a null pointer for "no data" but not for "data of length 0".
    var empty: UInt8 = 0
    let message = withUnsafePointer(to: &empty) { placeholder in
      unpack(&allocator, bytes.count, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) ?? placeholder)
    }
    guard let message else {
      if memory.pointee.budget.exhausted { throw WireError(.tooLarge, "the \(name) needs more memory than a message may take") }
      throw WireError(.malformed, "the \(name) is not a valid protobuf message")
    }
    defer { free(message, &allocator) }
    return try body(message.pointee)
  }
}

private func withMemory<Result>(
  _ budget: UnpackBudget, _ body: (UnsafeMutablePointer<UnpackMemory>) throws(WireError) -> Result
) throws(WireError) -> Result {
  try withUnsafeTemporaryAllocation(byteCount: UnpackMemory.stackBytes, alignment: blockHeader) { (stack) throws(WireError) in
    guard let start = stack.baseAddress else { preconditionFailure("a piece of the stack has an address") }
    var memory = UnpackMemory(budget: budget, free: start, stack: start..<start + stack.count)
    defer { assert(memory.budget.bytes == budget.bytes, "protobuf-c has kept some memory") }
    return try withUnsafeMutablePointer(to: &memory) { (memory) throws(WireError) in try body(memory) }
  }
}

/// Before each block, so that freeing it gives its bytes back; as wide as the strictest alignment.
private let blockHeader = 16

private func allocateWithinBudget(_ data: UnsafeMutableRawPointer?, _ size: Int) -> UnsafeMutableRawPointer? {
  guard let memory = data?.assumingMemoryBound(to: UnpackMemory.self) else { return nil }
  guard size >= 0, memory.pointee.budget.allocations > 0, size <= memory.pointee.budget.bytes - blockHeader else {
    memory.pointee.budget.exhausted = true
    return nil
  }
  memory.pointee.budget.allocations -= 1
  memory.pointee.budget.bytes -= size + blockHeader
  let bytes = (size + 2 * blockHeader - 1) & ~(blockHeader - 1)
  var block = memory.pointee.free
  if bytes <= memory.pointee.stack.upperBound - block {
    memory.pointee.free = block + bytes
  } else {
    block = .allocate(byteCount: bytes, alignment: blockHeader)
  }
  block.storeBytes(of: size, as: Int.self)
  return block + blockHeader
}

private func freeWithinBudget(_ data: UnsafeMutableRawPointer?, _ pointer: UnsafeMutableRawPointer?) {
  guard let memory = data?.assumingMemoryBound(to: UnpackMemory.self), let pointer else { return }
  let block = pointer - blockHeader
  memory.pointee.budget.bytes += block.load(as: Int.self) + blockHeader
  // What lies on the stack goes with it.
  if !memory.pointee.stack.contains(block) { block.deallocate() }
}
