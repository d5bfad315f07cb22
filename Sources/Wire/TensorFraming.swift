import CProtobufC
import CWeirProto
import ZeroMQ

/// Tensors as pairs of frames that join to a serialised `Tensor` message.
enum TensorFraming {
  /// `data` is field 15, length-delimited.
  private static let dataTag: UInt8 = 15 << 3 | 2

  /// The header frame and the data frame, which is the tensor's own.
  static func encode(_ tensor: WireTensor) throws(WireError) -> [Frame] {
    let header = try PackArena.with { (arena) throws(WireError) in
      let message = try arena.make(weir__v1__tensor__init) { (message: inout Weir__V1__Tensor) throws(WireError) in
        message.name = try arena.name(tensor.name, "a tensor's name")
        message.dtype =
          switch tensor.dtype {
          case .f32: WEIR__V1__DTYPE__F32
          case .u8: WEIR__V1__DTYPE__U8
          }
        (message.n_shape, message.shape) = arena.array(tensor.shape)
      }
      let suffix = dataPrefix(count: tensor.data.count)
      let size = weir__v1__tensor__get_packed_size(message)
      return Frame(count: size + suffix.count) { memory in
        weir__v1__tensor__pack(message, memory.baseAddress?.assumingMemoryBound(to: UInt8.self))
        for (index, byte) in suffix.enumerated() { memory[size + index] = byte }
      }
    }
    return [header, tensor.data]
  }

  static func decode(header: Frame, data: Frame) throws(WireError) -> WireTensor {
    guard header.count <= WireLimits.tensorHeaderBytes else {
      throw WireError(
        .tooLarge, "a tensor's header frame has \(header.count) bytes; at most \(WireLimits.tensorHeaderBytes) are allowed")
    }
    guard data.count <= WireLimits.tensorBytes else {
      throw WireError(.tooLarge, "a tensor has \(data.count) bytes; at most \(WireLimits.tensorBytes) are allowed")
    }
    // What precedes the data's tag and length is a whole message by itself.
    let suffix = dataPrefix(count: data.count)
    return try header.withUnsafeBytes { (bytes) throws(WireError) -> WireTensor in
      guard bytes.count >= suffix.count, bytes.suffix(suffix.count).elementsEqual(suffix) else {
        throw WireError(
          .malformed, "a tensor's header frame doesn't end with the tag and length of the \(data.count) bytes that follow it")
      }
      return try withUnpacked(
        UnsafeRawBufferPointer(rebasing: bytes.dropLast(suffix.count)), "tensor header", unpack: weir__v1__tensor__unpack,
        free: weir__v1__tensor__free_unpacked
      ) { (message) throws(WireError) -> WireTensor in
        guard message.data.len == 0 else { throw WireError(.malformed, "a tensor's header frame has data in it") }
        let name = try Reading.name(message.name, "a tensor's name")
        let dtype: WireTensor.DType
        switch message.dtype {
        case WEIR__V1__DTYPE__F32: dtype = .f32
        case WEIR__V1__DTYPE__U8: dtype = .u8
        default: throw WireError(.invalidTensor, "tensor \(name) has the unknown element type \(message.dtype.rawValue)")
        }
        guard message.n_shape <= WireLimits.rank else {
          throw WireError(.invalidTensor, "tensor \(name) has \(message.n_shape) axes; \(WireLimits.rank) are allowed")
        }
        let shape = Array(UnsafeBufferPointer(start: message.shape, count: message.n_shape))
        return try WireTensor(name: name, dtype: dtype, shape: shape, data: data)
      }
    }
  }

  /// The tag and length before `count` bytes of data. proto3 doesn't write an empty field at all.
  private static func dataPrefix(count: Int) -> [UInt8] {
    guard count > 0 else { return [] }
    var bytes = [dataTag]
    var rest = count
    while rest >= 128 {
      bytes.append(UInt8(rest & 127) | 128)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
    return bytes
  }
}
