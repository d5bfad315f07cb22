import Digests
public import ZeroMQ

/// A tensor as it travels: little-endian, row-major bytes with their name, type and shape, which always go together.
public struct WireTensor: Hashable, Sendable {
  /// An element's type.
  public enum DType: Hashable, Sendable {
    case f32, u8

    /// Bytes of an element.
    public var size: Int {
      switch self {
      case .f32: 4
      case .u8: 1
      }
    }
  }

  /// What it is to its message: `x0`, `low_res`, `checkpoint.x`, …
  public let name: String
  public let dtype: DType
  /// Images are (3, height, width).
  public let shape: [UInt32]
  public let data: Frame

  /// - Throws: `.invalidTensor` if the rank is above 4, the name or data too long or the data not as long as the shape says.
  public init(name: String, dtype: DType, shape: [UInt32], data: Frame) throws(WireError) {
    guard name.utf8.count <= WireLimits.nameBytes else {
      throw WireError(.invalidTensor, "a tensor's name has \(name.utf8.count) bytes; \(WireLimits.nameBytes) are allowed")
    }
    guard shape.count <= WireLimits.rank else {
      throw WireError(.invalidTensor, "tensor \(name) has \(shape.count) axes; \(WireLimits.rank) are allowed")
    }
    guard let bytes = Self.byteCount(dtype, shape) else {
      throw WireError(.invalidTensor, "tensor \(name) of shape \(shape) is too large")
    }
    guard bytes <= WireLimits.tensorBytes else {
      throw WireError(
        .invalidTensor, "tensor \(name) of shape \(shape) has \(bytes) bytes; \(WireLimits.tensorBytes) are allowed")
    }
    guard bytes == data.count else {
      throw WireError(.invalidTensor, "tensor \(name) of shape \(shape) should have \(bytes) bytes and has \(data.count)")
    }
    self.name = name
    self.dtype = dtype
    self.shape = shape
    self.data = data
  }

  /// Bytes that a tensor's data has; `nil` if no number can say.
  package static func byteCount(_ dtype: DType, _ shape: [UInt32]) -> Int? {
    var bytes = dtype.size
    for size in shape {
      let (product, overflow) = bytes.multipliedReportingOverflow(by: Int(size))
      if overflow { return nil }
      bytes = product
    }
    return bytes
  }

  /// An f32 tensor.
  public init(name: String, floats: [Float], shape: [UInt32]) throws(WireError) {
    let data = floats.withUnsafeBytes { bytes in Frame(copying: bytes) }
    try self.init(name: name, dtype: .f32, shape: shape, data: data)
  }

  /// The same tensor under another name; the data is shared.
  public func named(_ name: String) throws(WireError) -> WireTensor {
    try WireTensor(name: name, dtype: dtype, shape: shape, data: data)
  }

  /// The elements, row-major; those of a `u8` tensor converted.
  public func floats() -> [Float] {
    data.withUnsafeBytes { bytes in
      switch dtype {
      case .f32:
        // Received bytes may lie at any address.
        [Float](unsafeUninitializedCapacity: bytes.count / 4) { floats, count in
          UnsafeMutableRawBufferPointer(floats).copyMemory(from: bytes)
          count = bytes.count / 4
        }
      case .u8: bytes.map(Float.init)
      }
    }
  }

  /// SHA-256 of the data, 32 bytes.
  public var digest: [UInt8] { data.withUnsafeBytes { sha256($0) } }

  /// XXH3 of the data, 64 bits: what a receiver can afford to look at of everything that passes through it.
  public var checksum: UInt64 { data.withUnsafeBytes { Digests.checksum($0) } }
}
