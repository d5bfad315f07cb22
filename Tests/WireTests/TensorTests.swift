import CProtobufC
import CWeirProto
import Digests
import SeededRandom
import Testing
import ZeroMQ

@testable import Wire

@Suite struct TensorTests {
  /// The two frames joined are what protobuf-c itself makes of the whole message, and parse as it.
  @Test func framesJoinToProtobuf() throws {
    for seed in 0..<300 as Range<UInt64> {
      var random = SplitMix64(seed: seed)
      var tensor = AnyMessage.tensor(&random, seed == 7 ? "" : "x\(seed)")
      if seed % 10 == 0 {
        // Lengths around those at which the length itself grows by a byte.
        let count = [0, 1, 127, 128, 16383, 16384, 2_097_151, 2_097_152][Int(seed / 10) % 8]
        tensor = try WireTensor(name: "x", dtype: .u8, shape: [UInt32(count)], data: Frame([UInt8](repeating: 0x7A, count: count)))
      }
      let frames = try TensorFraming.encode(tensor)
      #expect(frames.count == 2)
      #expect(frames[1] === tensor.data)
      let joined = frames[0].bytes + frames[1].bytes
      #expect(joined == packed(tensor), "seed \(seed): \(tensor)")
      let back = try TensorFraming.decode(header: frames[0], data: frames[1])
      #expect(back == tensor, "seed \(seed)")
      #expect(back.data === tensor.data)
    }
  }

  private func packed(_ tensor: WireTensor) -> [UInt8] {
    var message = Weir__V1__Tensor()
    weir__v1__tensor__init(&message)
    var name = tensor.name.utf8CString
    var shape = tensor.shape
    var data = tensor.data.bytes
    return name.withUnsafeMutableBufferPointer { name in
      shape.withUnsafeMutableBufferPointer { shape in
        data.withUnsafeMutableBufferPointer { data in
          message.name = name.baseAddress
          message.dtype = tensor.dtype == .f32 ? WEIR__V1__DTYPE__F32 : WEIR__V1__DTYPE__U8
          message.n_shape = shape.count
          message.shape = shape.baseAddress
          message.data = ProtobufCBinaryData(len: data.count, data: data.baseAddress)
          let size = weir__v1__tensor__get_packed_size(&message)
          return [UInt8](unsafeUninitializedCapacity: size) { $1 = weir__v1__tensor__pack(&message, $0.baseAddress) }
        }
      }
    }
  }

  @Test func shapeAndBytesGoTogether() throws {
    func code(_ shape: [UInt32], _ bytes: Int, _ dtype: WireTensor.DType = .f32) -> WireError.Code? {
      #expect(throws: WireError.self) {
        try WireTensor(name: "x", dtype: dtype, shape: shape, data: Frame([UInt8](repeating: 0, count: bytes)))
      }?.code
    }
    #expect(code([3], 3) == .invalidTensor)
    #expect(code([], 0) == .invalidTensor)
    #expect(code([1, 1, 1, 1, 1], 4) == .invalidTensor)
    #expect(code([.max, .max, .max, .max], 4) == .invalidTensor)
    // 2³² · 2³² · 4 is 0 modulo 2⁶⁴.
    #expect(code([1 << 31, 1 << 31, 4], 0) == .invalidTensor)
    #expect(code([1 << 26], 0, .u8) == .invalidTensor)
    #expect(code([(1 << 26) + 1], 0, .u8) == .invalidTensor)
    #expect(try WireTensor(name: "x", dtype: .u8, shape: [0, .max], data: Frame([])).floats() == [])
    #expect(try WireTensor(name: "x", floats: [2.5], shape: []).floats() == [2.5])
    #expect(try WireTensor(name: "x", dtype: .u8, shape: [2], data: Frame([0, 255])).floats() == [0, 255])
    #expect(throws: WireError.self) {
      try WireTensor(name: String(repeating: "x", count: 257), floats: [], shape: [0])
    }
  }

  @Test func digestIsOfTheData() throws {
    let tensor = try WireTensor(name: "x0", dtype: .u8, shape: [3], data: Frame(Array("abc".utf8)))
    #expect(hex(tensor.digest) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  }

  // MARK: Hostile headers

  private func code(_ header: RawFields, _ data: [UInt8]) -> WireError.Code? {
    #expect(throws: WireError.self) { try TensorFraming.decode(header: header.frame, data: Frame(data)) }?.code
  }

  private func header(dtype: UInt64 = 2, shape: [UInt64], tail: [UInt8]) -> RawFields {
    RawFields { fields in
      fields.text(1, "x")
      fields.number(2, dtype)
      for size in shape { fields.number(3, size) }
      fields.raw(tail)
    }
  }

  @Test func hostileHeaders() throws {
    let tail: [UInt8] = [0x7A, 3]
    // As it should be, with an unpacked shape and an unknown field.
    var good = RawFields()
    good.bytes(9, [1, 2, 3])
    good.raw(header(shape: [3], tail: tail).bytes)
    #expect(try TensorFraming.decode(header: good.frame, data: Frame([1, 2, 3])).shape == [3])

    #expect(code(header(shape: [3], tail: tail), [1, 2]) == .malformed)
    #expect(code(header(shape: [3], tail: tail), [1, 2, 3, 4]) == .malformed)
    #expect(code(header(shape: [3], tail: tail), []) == .malformed)
    #expect(code(header(shape: [3], tail: []), [1, 2, 3]) == .malformed)
    #expect(code(header(shape: [3], tail: [3]), [1, 2, 3]) == .malformed)
    #expect(code(header(shape: [2], tail: tail), [1, 2, 3]) == .invalidTensor)
    #expect(code(header(dtype: 0, shape: [3], tail: tail), [1, 2, 3]) == .invalidTensor)
    #expect(code(header(dtype: 99, shape: [3], tail: tail), [1, 2, 3]) == .invalidTensor)
    #expect(code(header(dtype: .max, shape: [3], tail: tail), [1, 2, 3]) == .invalidTensor)
    #expect(code(header(shape: [1, 1, 1, 1, 3], tail: tail), [1, 2, 3]) == .invalidTensor)
    #expect(code(header(shape: [1 << 31, 1 << 31, 1 << 31, 1 << 31], tail: tail), [1, 2, 3]) == .invalidTensor)
    #expect(code(header(shape: Array(repeating: 1, count: 2000), tail: tail), [1, 2, 3]) == .tooLarge)
    // Data in the header as well.
    #expect(code(header(shape: [3], tail: [0x7A, 1, 9, 0x7A, 3]), [1, 2, 3]) == .malformed)
    #expect(code(RawFields(), []) == .invalidTensor)
    // The tag and length are the end of the name, not a field.
    #expect(code(RawFields { $0.bytes(1, [65, 0x7A, 3]) }, [1, 2, 3]) == .malformed)
    var badName = RawFields { $0.bytes(1, [0xFF, 0xFE]) }
    badName.raw(header(shape: [3], tail: tail).bytes.dropFirst(3).map { $0 })
    #expect(code(badName, [1, 2, 3]) == .invalidField)
  }

  @Test func everyTruncation() throws {
    let frames = try TensorFraming.encode(WireTensor(name: "low_res", floats: [1, 2, 3, 4, 5, 6], shape: [1, 2, 3]))
    for length in 0..<frames[0].count {
      #expect(throws: WireError.self, "\(length)") {
        try TensorFraming.decode(header: Frame(Array(frames[0].bytes.prefix(length))), data: frames[1])
      }
    }
  }
}
