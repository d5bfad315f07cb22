/// Reads Python's pickle format (protocols 2 to 4) as far as PyTorch's files use it, and runs nothing: functions are only named, and an
/// operation that would need more than data is refused.
struct Unpickler {
  struct Failure: Error {
    let message: String
  }

  private static let maxDepth = 64

  private let bytes: UnsafeRawBufferPointer
  private(set) var offset: Int
  private var stack: [PickleValue] = []
  /// Heights of the stack at the marks.
  private var marks: [Int] = []
  private var memo: [Int: PickleValue] = [:]
  private var lists: [PickleList] = []
  private var dictionaries: [PickleDictionary] = []

  /// - Parameter offset: where the pickle begins; others may lie before and behind it.
  private init(_ bytes: UnsafeRawBufferPointer, from offset: Int) {
    self.bytes = bytes
    self.offset = offset
  }

  /// Reads one pickle and gives it to `body`, with where it ends. What `body` keeps of it must not be lists or dictionaries: they are emptied, so
  /// that those in each other, however deep, are freed one by one.
  static func read<Result>(
    _ bytes: UnsafeRawBufferPointer, from offset: Int = 0, _ body: (PickleValue, _ end: Int) throws -> Result
  ) throws -> Result {
    var unpickler = Unpickler(bytes, from: offset)
    defer { unpickler.dismantle() }
    let value = try unpickler.run()
    return try body(value, unpickler.offset)
  }

  private func dismantle() {
    for list in lists { list.items = [] }
    for dictionary in dictionaries { dictionary.items = [] }
  }

  private mutating func run() throws -> PickleValue {
    while true {
      let place = offset
      let code = try byte()
      switch code {
      case UInt8(ascii: "."): return try pop()
      case 0x80:
        let version = try byte()
        guard (2...5).contains(version) else { throw failure("pickle protocol \(version); 2 to 5 are read") }
      case 0x95: _ = try take(8)
      // Data.
      case UInt8(ascii: "N"): stack.append(.none)
      case 0x88: stack.append(.bool(true))
      case 0x89: stack.append(.bool(false))
      case UInt8(ascii: "K"): stack.append(.int(Int64(try byte())))
      case UInt8(ascii: "M"): stack.append(.int(Int64(try number(UInt16.self))))
      case UInt8(ascii: "J"): stack.append(.int(Int64(try number(Int32.self))))
      case 0x8a: stack.append(.int(try long(Int(byte()))))
      case UInt8(ascii: "G"): stack.append(.double(Double(bitPattern: UInt64(bigEndian: try number(UInt64.self)))))
      case UInt8(ascii: "X"): stack.append(.string(try text(Int(number(UInt32.self)))))
      case 0x8c: stack.append(.string(try text(Int(byte()))))
      case UInt8(ascii: "U"): stack.append(.string(try text(Int(byte()))))
      case UInt8(ascii: "T"): stack.append(.string(try text(Int(number(UInt32.self)))))
      case UInt8(ascii: "C"): stack.append(.bytes(Array(try take(Int(byte())))))
      case UInt8(ascii: "B"): stack.append(.bytes(Array(try take(Int(number(UInt32.self))))))
      case UInt8(ascii: ")"): try push([])
      case 0x85: try push(pop(1))
      case 0x86: try push(pop(2))
      case 0x87: try push(pop(3))
      case UInt8(ascii: "t"): try push(popToMark())
      case UInt8(ascii: "]"):
        let list = PickleList()
        lists.append(list)
        stack.append(.list(list))
      case UInt8(ascii: "}"): stack.append(.dictionary(newDictionary()))
      case UInt8(ascii: "a"): try append(pop(1))
      case UInt8(ascii: "e"): try append(popToMark())
      case UInt8(ascii: "s"): try set(pop(2))
      case UInt8(ascii: "u"): try set(popToMark())
      // The stack and the memo.
      case UInt8(ascii: "("): marks.append(stack.count)
      case UInt8(ascii: "0"): _ = try pop()
      case UInt8(ascii: "q"): memo[Int(try byte())] = try top()
      case UInt8(ascii: "r"): memo[Int(try number(UInt32.self))] = try top()
      case 0x94: memo[memo.count] = try top()
      case UInt8(ascii: "h"): try recall(Int(byte()))
      case UInt8(ascii: "j"): try recall(Int(number(UInt32.self)))
      // Names and calls.
      case UInt8(ascii: "c"):
        let (module, name) = (try line(), try line())
        stack.append(.global(module: module, name: name))
      case 0x93:
        let names = try pop(2)
        guard let module = names[0].string, let name = names[1].string else { throw failure("a global without a name") }
        stack.append(.global(module: module, name: name))
      case UInt8(ascii: "Q"):
        let id = try pop(1)
        stack.append(.persistent(try tuple(id)))
      case UInt8(ascii: "R"): try reduce()
      // An object's own state; of tables such as OrderedDict PyTorch writes one that says nothing about the tensors.
      case UInt8(ascii: "b"): _ = try pop()
      default:
        throw failure("pickle operation 0x\(String(code, radix: 16)) at byte \(place), which no file of tensors needs")
      }
    }
  }

  private mutating func reduce() throws {
    let call = try pop(2)
    if call[0].isGlobal("collections", "OrderedDict"), call[1].tuple?.isEmpty == true {
      stack.append(.dictionary(newDictionary()))
    } else {
      stack.append(.call(try tuple(call)))
    }
  }

  private mutating func newDictionary() -> PickleDictionary {
    let dictionary = PickleDictionary()
    dictionaries.append(dictionary)
    return dictionary
  }

  private mutating func append(_ items: [PickleValue]) throws {
    guard case .list(let list) = try top() else { throw failure("items for what is no list") }
    list.items += items
  }

  private mutating func set(_ items: [PickleValue]) throws {
    guard case .dictionary(let dictionary) = try top(), items.count.isMultiple(of: 2) else { throw failure("items for what is no table") }
    for index in stride(from: 0, to: items.count, by: 2) { dictionary.items.append((items[index], items[index + 1])) }
  }

  private mutating func recall(_ index: Int) throws {
    guard let value = memo[index] else { throw failure("a reference to what was not stored") }
    stack.append(value)
  }

  // MARK: The stack

  private func tuple(_ items: [PickleValue]) throws -> PickleTuple {
    let tuple = PickleTuple(items)
    guard tuple.depth <= Self.maxDepth else { throw failure("tuples within each other, more than \(Self.maxDepth) deep") }
    return tuple
  }

  private mutating func push(_ items: [PickleValue]) throws { stack.append(.tuple(try tuple(items))) }

  private func top() throws -> PickleValue {
    guard stack.count > marks.last ?? 0, let value = stack.last else { throw failure("an operation without its operands") }
    return value
  }

  private mutating func pop() throws -> PickleValue {
    let value = try top()
    stack.removeLast()
    return value
  }

  private mutating func pop(_ count: Int) throws -> [PickleValue] {
    guard stack.count - (marks.last ?? 0) >= count else { throw failure("an operation without its operands") }
    defer { stack.removeLast(count) }
    return Array(stack.suffix(count))
  }

  private mutating func popToMark() throws -> [PickleValue] {
    guard let mark = marks.popLast() else { throw failure("an operation without its mark") }
    defer { stack.removeSubrange(mark...) }
    return Array(stack[mark...])
  }

  // MARK: Bytes

  private func failure(_ message: String) -> Failure { Failure(message: message) }

  private mutating func take(_ count: Int) throws -> UnsafeRawBufferPointer {
    guard count >= 0, count <= bytes.count - offset else { throw failure("it ends in the middle") }
    defer { offset += count }
    return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
  }

  private mutating func byte() throws -> UInt8 { try take(1)[0] }

  private mutating func number<Number: FixedWidthInteger>(_ type: Number.Type) throws -> Number {
    Number(littleEndian: try take(MemoryLayout<Number>.size).loadUnaligned(as: Number.self))
  }

  /// A little-endian two's complement number; one that is too long for what it may mean here is only refused when it is used.
  private mutating func long(_ count: Int) throws -> Int64 {
    let digits = try take(count)
    guard count <= 8 else { return .min }
    var value: UInt64 = digits.last.map { $0 >= 0x80 ? .max : 0 } ?? 0
    for digit in digits.reversed() { value = value << 8 | UInt64(digit) }
    return Int64(bitPattern: value)
  }

  private mutating func text(_ count: Int) throws -> String {
    guard let text = String(validating: try take(count), as: UTF8.self) else { throw failure("text that is not UTF-8") }
    return text
  }

  private mutating func line() throws -> String {
    guard let length = bytes[offset...].firstIndex(of: UInt8(ascii: "\n")).map({ $0 - offset }) else { throw failure("it ends in a name") }
    defer { offset += 1 }
    return try text(length)
  }
}
