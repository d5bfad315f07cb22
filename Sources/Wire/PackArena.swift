import CProtobufC

/// Memory of the C structs of one message that is being packed; all of it is freed with the arena.
final class PackArena {
  /// Of the stack, to begin with: most messages fit.
  private static let stackBytes = 2_048
  private static let blockBytes = 8_192
  private static let alignment = 16

  private var blocks: [UnsafeMutableRawPointer] = []
  /// What is left of the last block.
  private var free: UnsafeMutableRawPointer?
  private var freeBytes: Int

  /// Gives `body` an arena, which may not outlive the call.
  static func with<Result>(_ body: (PackArena) throws(WireError) -> Result) throws(WireError) -> Result {
    try withUnsafeTemporaryAllocation(byteCount: stackBytes, alignment: alignment) { (stack) throws(WireError) in
      try body(PackArena(stack))
    }
  }

  private init(_ stack: UnsafeMutableRawBufferPointer) {
    free = stack.baseAddress
    freeBytes = stack.count
  }

  deinit {
    for block in blocks { block.deallocate() }
  }

  private func allocate<Element>(_: Element.Type, count: Int) -> UnsafeMutablePointer<Element> {
    precondition(MemoryLayout<Element>.alignment <= Self.alignment)
    let bytes = (max(count, 1) * MemoryLayout<Element>.stride + Self.alignment - 1) & ~(Self.alignment - 1)
    if bytes > freeBytes {
      freeBytes = max(bytes, Self.blockBytes)
      free = .allocate(byteCount: freeBytes, alignment: Self.alignment)
      if let free { blocks.append(free) }
    }
    guard let start = free else { preconditionFailure("a block was just made") }
    free = start + bytes
    freeBytes -= bytes
    return start.bindMemory(to: Element.self, capacity: max(count, 1))
  }

  /// A message, set to its defaults by protobuf-c's `initialise` and then filled in.
  func make<Message>(
    _ initialise: (UnsafeMutablePointer<Message>?) -> Void, _ fill: (inout Message) throws(WireError) -> Void
  ) throws(WireError) -> UnsafeMutablePointer<Message> {
    let message = allocate(Message.self, count: 1)
    initialise(message)
    try fill(&message.pointee)
    return message
  }

  func bytes(_ bytes: [UInt8]) -> ProtobufCBinaryData {
    let copy = allocate(UInt8.self, count: bytes.count)
    copy.initialize(from: bytes, count: bytes.count)
    return ProtobufCBinaryData(len: bytes.count, data: copy)
  }

  /// A name that programs compare: it is sent whole or not at all.
  func name(_ text: String, _ field: String) throws(WireError) -> UnsafeMutablePointer<CChar> {
    guard text.utf8.count <= WireLimits.nameBytes else {
      throw WireError(.tooLarge, "\(field) has \(text.utf8.count) bytes; at most \(WireLimits.nameBytes) are allowed")
    }
    guard !text.utf8.contains(0) else { throw WireError(.invalidField, "\(field) has a NUL in it; leave it out") }
    return string(text.utf8)
  }

  /// A text for people: cut if it is too long.
  func text(_ text: String, limit: Int = WireLimits.textBytes) -> UnsafeMutablePointer<CChar> {
    var end = text.endIndex
    if text.utf8.count > limit {
      var count = 0
      end = text.startIndex
      while end < text.endIndex {
        count += text[end].utf8.count
        if count > limit { break }
        end = text.index(after: end)
      }
    }
    return string(text.utf8[..<end].map { $0 == 0 ? UInt8(ascii: " ") : $0 })
  }

  private func string(_ bytes: some Collection<UInt8>) -> UnsafeMutablePointer<CChar> {
    let copy = allocate(CChar.self, count: bytes.count + 1)
    for (index, byte) in bytes.enumerated() { copy[index] = CChar(bitPattern: byte) }
    copy[bytes.count] = 0
    return copy
  }

  /// A repeated field.
  func array<Value, Element>(
    _ values: some Sequence<Value>, _ convert: (Value) throws(WireError) -> UnsafeMutablePointer<Element>
  ) throws(WireError) -> (Int, UnsafeMutablePointer<UnsafeMutablePointer<Element>?>) {
    var elements: [UnsafeMutablePointer<Element>?] = []
    for value in values { elements.append(try convert(value)) }
    let copy = allocate(UnsafeMutablePointer<Element>?.self, count: elements.count)
    copy.initialize(from: elements, count: elements.count)
    return (elements.count, copy)
  }

  func array(_ values: [UInt32]) -> (Int, UnsafeMutablePointer<UInt32>) {
    let copy = allocate(UInt32.self, count: values.count)
    copy.initialize(from: values, count: values.count)
    return (values.count, copy)
  }
}
