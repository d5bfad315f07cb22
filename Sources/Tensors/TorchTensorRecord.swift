/// How a pickle of PyTorch's describes a tensor: a part of a storage.
struct TorchTensorRecord {
  struct Failure: Error {
    let message: String
  }

  let storage: String
  let dtype: DType
  let offset: Int
  let shape: [Int]
  let strides: [Int]

  private static let types: [String: DType] = [
    "FloatStorage": .f32, "HalfStorage": .f16, "BFloat16Storage": .bf16, "DoubleStorage": .f64, "LongStorage": .i64, "ByteStorage": .u8,
    "BoolStorage": .bool,
  ]

  /// Under which training programs keep the weights beside other things.
  private static let wrappers = ["state_dict", "model", "ema"]

  /// The tensors of a state dict, in order.
  static func stateDict(_ value: PickleValue) throws -> [(name: String, record: TorchTensorRecord)] {
    guard case .dictionary(let table) = value else { throw Failure(message: "holds no table of tensors; give a state dict") }
    for wrapper in wrappers {
      if case .dictionary(let inner)? = table[wrapper] { return try records(inner) }
    }
    return try records(table)
  }

  private static func records(_ table: PickleDictionary) throws -> [(name: String, record: TorchTensorRecord)] {
    try table.items.map { key, value in
      guard let name = key.string else { throw Failure(message: "has an entry whose key is no text; give a state dict") }
      do {
        return (name, try TorchTensorRecord(value))
      } catch let error as Failure {
        throw Failure(message: "entry '\(name)' \(error.message)")
      }
    }
  }

  private init(_ value: PickleValue) throws {
    guard case .call(let call) = value, let arguments = call.items[1].tuple else {
      throw Failure(message: "is no tensor; give a state dict")
    }
    if call.items[0].isGlobal("torch._utils", "_rebuild_parameter"), let tensor = arguments.first {
      self = try TorchTensorRecord(tensor)
      return
    }
    guard call.items[0].isGlobal("torch._utils", "_rebuild_tensor_v2"), arguments.count >= 4 else {
      throw Failure(message: "asks to run \(Self.name(call.items[0])), which is not done; save a plain state dict")
    }
    guard case .persistent(let id) = arguments[0], let place = id.items.first?.tuple, place.count >= 5, place[0].string == "storage",
      case .global("torch", let type) = place[1], let key = place[2].string, let offset = arguments[1].int,
      let shape = arguments[2].tuple?.map(\.int), let strides = arguments[3].tuple?.map(\.int)
    else {
      throw Failure(message: "is a tensor in a form that is not read")
    }
    guard let dtype = Self.types[type] else {
      throw Failure(message: "is of \(type), which is not read; there are \(Self.types.keys.sorted().joined(separator: ", "))")
    }
    storage = key
    self.dtype = dtype
    self.offset = offset
    self.shape = shape.compactMap { $0 }
    self.strides = strides.compactMap { $0 }
    guard self.shape.count == shape.count, self.strides.count == shape.count, offset >= 0,
      (self.shape + self.strides).allSatisfy({ $0 >= 0 })
    else { throw Failure(message: "has an impossible shape") }
  }

  private static func name(_ value: PickleValue) -> String {
    if case .global(let module, let name) = value { "\(module).\(name)" } else { "what has no name" }
  }

  /// The elements, in row-major order.
  func tensor(of storage: UnsafeRawBufferPointer) throws -> Tensor {
    let outside = Failure(message: "lies outside of its storage; the file may be damaged")
    var count = 1
    var last = offset
    for (length, stride) in zip(shape, strides) {
      let (product, tooMany) = count.multipliedReportingOverflow(by: length)
      let (reach, tooFar) = max(0, length - 1).multipliedReportingOverflow(by: stride)
      let (sum, beyond) = last.addingReportingOverflow(reach)
      guard !tooMany, !tooFar, !beyond else { throw outside }
      (count, last) = (product, sum)
    }
    let size = dtype.size
    guard count == 0 || last < storage.count / size else { throw outside }
    if dtype == .bool, storage.contains(where: { $0 > 1 }) { throw Failure(message: "is of true and false, but has bytes above 1") }
    if isContiguous {
      let start = count == 0 ? 0 : offset * size
      return try Tensor(bytes: UnsafeRawBufferPointer(rebasing: storage[start..<start + count * size]), shape: shape, dtype: dtype)
    }
    // A view that overlaps itself could be of any size, whatever the storage's.
    guard count <= storage.count / size else { throw Failure(message: "repeats its storage, which is not read") }
    var elements = [UInt8](repeating: 0, count: count * size)
    elements.withUnsafeMutableBytes { elements in
      var index = [Int](repeating: 0, count: shape.count)
      for target in 0..<count {
        let source = zip(index, strides).reduce(offset) { $0 + $1.0 * $1.1 }
        for byte in 0..<size { elements[target * size + byte] = storage[source * size + byte] }
        for axis in index.indices.reversed() {
          index[axis] += 1
          if index[axis] < shape[axis] { break }
          index[axis] = 0
        }
      }
    }
    return try elements.withUnsafeBytes { try Tensor(bytes: $0, shape: shape, dtype: dtype) }
  }

  private var isContiguous: Bool {
    var expected = 1
    for (length, stride) in zip(shape, strides).reversed() {
      if length != 1, stride != expected { return shape.contains(0) }
      expected *= length
    }
    return true
  }
}
