import CTorchBridge

/// A LibTorch tensor: one bridge handle, freed with this object.
///
/// A view (`narrow`, `permute`, `reshape`, `detach`, ...) shares memory with its source. Operations do not change their inputs,
/// except those whose name ends in `_`.
// Unchecked: LibTorch's reference counts are atomic and reads are safe from any thread; whoever uses the in-place operations
// or gradients must keep them to one thread at a time.
package final class Tensor: @unchecked Sendable {
  let handle: OpaquePointer

  init(owning handle: OpaquePointer) {
    self.handle = handle
  }

  deinit {
    wt_free(handle)
  }

  /// Calls the bridge with an out-handle and wraps what it returns; `inputs` stay alive until the call is over.
  static func make(
    _ operation: StaticString, keeping inputs: Tensor?..., call: (UnsafeMutablePointer<OpaquePointer?>) -> wt_status
  ) throws(TorchError) -> Tensor {
    var out: OpaquePointer?
    let status = withExtendedLifetime(inputs) { call(&out) }
    try check(operation, status)
    guard let out else { throw TorchError(operation: "\(operation)", message: "the bridge gave no tensor") }
    return Tensor(owning: out)
  }

  /// The same for a list of tensors.
  static func withHandles<Result>(_ tensors: [Tensor], _ body: (UnsafePointer<OpaquePointer?>?, Int) -> Result) -> Result {
    withExtendedLifetime(tensors) {
      let handles: [OpaquePointer?] = tensors.map(\.handle)
      return handles.withUnsafeBufferPointer { body($0.baseAddress, $0.count) }
    }
  }

  /// Runs `call` with `self` kept alive.
  func perform(_ operation: StaticString, _ call: (OpaquePointer) -> wt_status) throws(TorchError) {
    let status = withExtendedLifetime(self) { call(handle) }
    try check(operation, status)
  }
}

// MARK: - Construction

extension Tensor {
  /// Copies raw little-endian elements; `bytes` must be exactly the shape's.
  package convenience init(
    bytes: UnsafeRawBufferPointer, shape: [Int], dtype: DType, device: Device = .cpu
  ) throws(TorchError) {
    var out: OpaquePointer?
    let sizes = shape.map(Int64.init)
    try check("tensor", wt_from_bytes(bytes.baseAddress, bytes.count, dtype.raw, sizes, sizes.count, device.name, &out))
    guard let out else { throw TorchError(operation: "tensor", message: "the bridge gave no tensor") }
    self.init(owning: out)
  }

  /// f32 elements in row-major order.
  package convenience init(_ elements: [Float], shape: [Int], device: Device = .cpu) throws(TorchError) {
    try self.init(elements: elements, shape: shape, dtype: .f32, device: device)
  }

  /// f64 elements in row-major order.
  package convenience init(_ elements: [Double], shape: [Int], device: Device = .cpu) throws(TorchError) {
    try self.init(elements: elements, shape: shape, dtype: .f64, device: device)
  }

  /// i64 elements in row-major order.
  package convenience init(_ elements: [Int64], shape: [Int], device: Device = .cpu) throws(TorchError) {
    try self.init(elements: elements, shape: shape, dtype: .i64, device: device)
  }

  /// u8 elements in row-major order.
  package convenience init(_ elements: [UInt8], shape: [Int], device: Device = .cpu) throws(TorchError) {
    try self.init(elements: elements, shape: shape, dtype: .u8, device: device)
  }

  private convenience init<Element>(elements: [Element], shape: [Int], dtype: DType, device: Device) throws(TorchError) {
    var out: OpaquePointer?
    let sizes = shape.map(Int64.init)
    let status = elements.withUnsafeBytes {
      wt_from_bytes($0.baseAddress, $0.count, dtype.raw, sizes, sizes.count, device.name, &out)
    }
    try check("tensor", status)
    guard let out else { throw TorchError(operation: "tensor", message: "the bridge gave no tensor") }
    self.init(owning: out)
  }

  package static func full(
    _ value: Double, shape: [Int], dtype: DType = .f32, device: Device = .cpu
  ) throws(TorchError) -> Tensor {
    let sizes = shape.map(Int64.init)
    return try make("full") { wt_full(value, dtype.raw, sizes, sizes.count, device.name, $0) }
  }

  package static func zeros(shape: [Int], dtype: DType = .f32, device: Device = .cpu) throws(TorchError) -> Tensor {
    try full(0, shape: shape, dtype: dtype, device: device)
  }

  package static func ones(shape: [Int], dtype: DType = .f32, device: Device = .cpu) throws(TorchError) -> Tensor {
    try full(1, shape: shape, dtype: dtype, device: device)
  }

  /// Zeros of this tensor's shape, type, device and memory layout.
  package func zerosLike() throws(TorchError) -> Tensor {
    try Tensor.make("zerosLike", keeping: self) { wt_zeros_like(handle, $0) }
  }

  /// Standard normal f32 numbers from LibTorch's CPU generator, for initial weights, training and tests; never for sampling.
  package static func randn(shape: [Int], seed: UInt64) throws(TorchError) -> Tensor {
    let sizes = shape.map(Int64.init)
    return try make("randn") { wt_randn(seed, sizes, sizes.count, $0) }
  }
}

// MARK: - Reading

extension Tensor {
  package var shape: [Int] { dimensions(wt_shape) }

  /// Elements to step over per index, one per dimension.
  package var strides: [Int] { dimensions(wt_strides) }

  private func dimensions(_ read: (OpaquePointer, UnsafeMutablePointer<Int64>, Int) -> wt_status) -> [Int] {
    withExtendedLifetime(self) {
      var rank = 0
      wt_rank(handle, &rank)
      return withUnsafeTemporaryAllocation(of: Int64.self, capacity: max(rank, 1)) { sizes in
        guard let base = sizes.baseAddress else { return [] }
        sizes.initialize(repeating: 0)
        _ = read(handle, base, rank)
        return sizes.prefix(rank).map(Int.init)
      }
    }
  }

  /// Number of elements.
  package var count: Int {
    withExtendedLifetime(self) {
      var count: Int64 = 0
      wt_count(handle, &count)
      return Int(count)
    }
  }

  package var dtype: DType {
    get throws(TorchError) {
      var raw = WT_F32
      try perform("dtype") { wt_dtype_of($0, &raw) }
      guard let dtype = DType(raw: raw) else { throw TorchError(operation: "dtype", message: "unknown element type \(raw)") }
      return dtype
    }
  }

  package var device: Device {
    get throws(TorchError) {
      var name = [CChar](repeating: 0, count: 32)
      try perform("device") { wt_device_of($0, &name, name.count) }
      return Device(String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))
    }
  }

  /// The elements in row-major order, converted to f32.
  package func floats() throws(TorchError) -> [Float] {
    try read(.f32, as: Float.self)
  }

  /// The elements in row-major order, converted to f64.
  package func doubles() throws(TorchError) -> [Double] {
    try read(.f64, as: Double.self)
  }

  /// The elements in row-major order, converted to i64.
  package func integers() throws(TorchError) -> [Int64] {
    try read(.i64, as: Int64.self)
  }

  /// The elements' own bytes in row-major order.
  package func bytes() throws(TorchError) -> [UInt8] {
    let dtype = try dtype
    return try read(dtype, as: UInt8.self, perElement: dtype.size)
  }

  /// Writes the elements in row-major order, converted to f32, into `buffer`, which must have room for exactly `count`.
  package func copyFloats(to buffer: UnsafeMutableBufferPointer<Float>) throws(TorchError) {
    try perform("copyFloats") { wt_read($0, WT_F32, buffer.baseAddress, buffer.count * MemoryLayout<Float>.stride) }
  }

  private func read<Element>(_ dtype: DType, as: Element.Type, perElement: Int = 1) throws(TorchError) -> [Element] {
    let total = count * perElement
    var status = WT_OK
    let elements = [Element](unsafeUninitializedCapacity: total) { buffer, initialized in
      status = withExtendedLifetime(self) {
        wt_read(handle, dtype.raw, buffer.baseAddress, total * MemoryLayout<Element>.stride)
      }
      initialized = status == WT_OK ? total : 0
    }
    try check("read", status)
    return elements
  }

  /// The only element of a one-element tensor.
  package func item() throws(TorchError) -> Double {
    var number = 0.0
    try perform("item") { wt_item($0, &number) }
    return number
  }

  /// Whether no element is infinite or NaN.
  package func isFinite() throws(TorchError) -> Bool {
    var finite = false
    try perform("isFinite") { wt_all_finite($0, &finite) }
    return finite
  }
}
