import CProtobufC
import CWeirProto
import SeededRandom
import Testing
import ZeroMQ

@testable import Wire

/// Messages that no honest peer sends.
@Suite struct HostileTests {
  private func error(_ kind: AnyMessage.Kind, _ frames: [Frame]) -> WireError? {
    #expect(throws: WireError.self) { try AnyMessage.decode(frames, as: kind) }
  }

  private func code(_ kind: AnyMessage.Kind, _ frames: Frame...) -> WireError.Code? { error(kind, frames)?.code }

  @Test func frames() {
    for kind in AnyMessage.Kind.allCases {
      #expect(error(kind, [])?.code == .malformed)
      // No version.
      #expect(code(kind, Frame([])) == .unsupportedVersion)
      #expect(code(kind, Frame(Array("GET / HTTP/1.1\r\n\r\n".utf8))) == .malformed)
      #expect(code(kind, Frame([UInt8](repeating: 0xFF, count: 100))) == .malformed)
      #expect(code(kind, Frame([UInt8](repeating: 0, count: WireLimits.envelopeBytes + 1))) == .tooLarge)
    }
    let workers = RawFields.envelope(15)
    #expect(code(.request, workers, Frame([])) == .malformed)
    #expect(code(.request, Frame([]), workers) != nil)
    let result = RawFields.envelope(53, tensors: 1)
    #expect(code(.worker, result) == .malformed)
    #expect(code(.worker, result, Frame([])) == .malformed)
    #expect(code(.worker, result, Frame([]), Frame([]), Frame([])) == .malformed)
    #expect(code(.worker, RawFields.envelope(53, tensors: 17)) == .tooLarge)
    #expect(code(.worker, RawFields.envelope(53, tensors: .max)) == .tooLarge)
    #expect(code(.worker, RawFields.envelope(53, tensors: 1 << 31)) == .tooLarge)
  }

  @Test func versions() {
    let newer = RawFields.envelope(15, version: 2)
    #expect(throws: Never.self) { try WireCodec.decodeClientRequest([newer]) }
    for version in [0, 3, UInt64(UInt32.max)] {
      let refused = error(.request, [RawFields.envelope(15, version: version)])
      #expect(refused?.code == .unsupportedVersion)
      #expect(refused?.request == 77)
    }
  }

  /// What went wrong is told to whom it concerns.
  @Test func errorsHaveTheRequest() {
    let submit = RawFields.envelope(10) { $0.message(3) { $0.double(4, .nan) } }
    #expect(error(.request, [submit])?.request == 77)
    #expect(error(.request, [RawFields.envelope(15, tensors: 1)])?.request == 77)
    #expect(error(.request, [Frame([0xFF])])?.request == nil)
  }

  @Test func unknownFieldsAreIgnored() throws {
    let request = RawFields.envelope(12) {
      $0.number(1, 5)
      $0.text(99, "from a newer release")
      $0.number(1000, .max)
      $0.double(77, 1)
    }
    #expect(try WireCodec.decodeClientRequest([request]).1 == .watch(JobID(rawValue: 5)))
  }

  @Test func bodies() throws {
    // None, one that is not known yet, and one of the other side.
    #expect(code(.request, RawFields { $0.number(1, 1) }.frame) == .unexpectedMessage)
    #expect(code(.request, RawFields.envelope(29)) == .unexpectedMessage)
    #expect(code(.request, RawFields.envelope(50)) == .unexpectedMessage)
    #expect(code(.worker, RawFields.envelope(71)) == .unexpectedMessage)
    // The last one counts.
    let two = RawFields {
      $0.number(1, 1)
      $0.message(10) { $0.text(5, "key") }
      $0.message(15) { _ in }
    }
    #expect(try WireCodec.decodeClientRequest([two.frame]).1 == .workers)
  }

  @Test func missingParts() {
    for body in [51, 52, 53, 54] as [UInt64] { #expect(code(.worker, RawFields.envelope(body)) == .invalidField) }
    for body in [71, 72, 75] as [UInt64] { #expect(code(.command, RawFields.envelope(body)) == .invalidField) }
    #expect(code(.reply, RawFields.envelope(33)) == .invalidField)
    #expect(code(.reply, RawFields.envelope(34)) == .invalidField)
    #expect(code(.worker, RawFields.envelope(50)) == .invalidField)
    let task: (inout RawFields) -> Void = { $0.message(1) { $0.number(1, 1) } }
    let result = RawFields.envelope(53) {
      task(&$0)
      $0.bytes(2, [UInt8](repeating: 0, count: 32))
    }
    #expect(code(.worker, result) == .invalidTensor)
  }

  @Test func values() {
    let digest = [UInt8](repeating: 0, count: 32)
    // Enumerations.
    for value in [0, 8, 1000, UInt64.max] {
      #expect(code(.reply, RawFields.envelope(31) { $0.number(1, value) }) == .invalidField)
      let job = RawFields.envelope(33) {
        $0.message(1) {
          $0.number(2, value)
          $0.bytes(4, digest)
        }
      }
      #expect(code(.reply, job) == .invalidField)
    }
    // Numbers that aren't.
    for value in [Double.nan, .infinity, -.infinity] {
      #expect(code(.request, RawFields.envelope(10) { $0.message(3) { $0.double(4, value) } }) == .invalidField)
      let progress = RawFields.envelope(51) {
        $0.message(1) { $0.message(1) { $0.number(1, 1) } }
        $0.double(2, value)
      }
      #expect(code(.worker, progress) == .invalidField)
    }
    // Texts.
    #expect(code(.request, RawFields.envelope(10) { $0.bytes(5, [0xC3, 0x28]) }) == .invalidField)
    #expect(code(.request, RawFields.envelope(10) { $0.text(5, String(repeating: "k", count: 257)) }) == .tooLarge)
    #expect(code(.worker, RawFields.envelope(56) { $0.text(1, String(repeating: "k", count: 2049)) }) == .tooLarge)
    // Digests.
    for length in [0, 31, 33, 5000] {
      let hello = RawFields.envelope(50) { $0.message(3) { $0.bytes(2, [UInt8](repeating: 1, count: length)) } }
      #expect(code(.worker, hello) == .invalidField)
    }
    // Lengths that lie.
    for length in [1, 100, 1 << 31, 1 << 32, 1 << 63] as [UInt64] {
      let lie = RawFields {
        $0.number(1, 1)
        $0.varint(10 << 3 | 2)
        $0.varint(length)
      }
      #expect(code(.request, lie.frame) == .malformed)
    }
  }

  @Test func tensorsWhereNoneBelong() throws {
    let tensor = try TensorFraming.encode(WireTensor(name: "x0", floats: [1], shape: [1]))
    for (kind, body) in [(.request, 15), (.reply, 37), (.worker, 55), (.command, 73)] as [(AnyMessage.Kind, UInt64)] {
      #expect(error(kind, [RawFields.envelope(body, tensors: 1)] + tensor)?.code == .malformed)
    }
    let assign: (inout RawFields) -> Void = { $0.message(1) { $0.number(1, 1) } }
    #expect(error(.command, [RawFields.envelope(71, tensors: 1, assign)] + tensor)?.code == .invalidTensor)
    let lowRes = try TensorFraming.encode(WireTensor(name: "low_res", floats: [1], shape: [1]))
    #expect(error(.command, [RawFields.envelope(71, tensors: 2, assign)] + lowRes + lowRes)?.code == .invalidTensor)
    let state = try TensorFraming.encode(WireTensor(name: "checkpoint.x", floats: [1], shape: [1]))
    #expect(error(.command, [RawFields.envelope(71, tensors: 1, assign)] + state)?.code == .invalidField)
    #expect(error(.worker, [RawFields.envelope(52, tensors: 1, assign)] + lowRes)?.code == .invalidTensor)
  }

  // MARK: Memory

  /// Small messages that would make protobuf-c allocate many times their size.
  @Test func amplification() {
    let emptyStrings = RawFields.envelope(50) { hello in hello.message(3) { for _ in 0..<30_000 { $0.text(3, "") } } }
    let emptyMessages = RawFields.envelope(32) { for _ in 0..<32_000 { $0.message(1) { _ in } } }
    let unknownFields = RawFields.envelope(15) { for _ in 0..<20_000 { $0.number(100, 0) } }
    // Each one is merged into the last.
    let merged = RawFields {
      $0.number(1, 1)
      $0.message(50) { hello in for _ in 0..<10_000 { hello.message(3) { $0.message(4) { _ in } } } }
    }
    for frame in [emptyStrings, emptyMessages, unknownFields, merged.frame] {
      #expect(frame.count <= WireLimits.envelopeBytes)
      for kind in AnyMessage.Kind.allCases { _ = try? AnyMessage.decode([frame], as: kind) }
    }
    #expect(code(.reply, emptyMessages) == .tooLarge)
    #expect(code(.worker, merged.frame) == .invalidField)
  }

  /// Memory may run out at any allocation: nothing is lost or freed twice. (An assertion in `withUnpacked` counts.)
  @Test func everyAllocationMayFail() throws {
    for seed in 0..<10 as Range<UInt64> {
      var random = SplitMix64(seed: seed)
      for message in AnyMessage.oneOfEach(&random) {
        let envelope = try message.encode()[0]
        var allocations = 0
        var unpacked = false
        while !unpacked {
          do throws(WireError) {
            try unpack(envelope, UnpackBudget(bytes: 1 << 20, allocations: allocations))
            unpacked = true
          } catch {
            #expect(error.code == .tooLarge, "seed \(seed), \(message), \(allocations) allocations")
          }
          allocations += 1
        }
      }
    }
  }

  @Test func bytesAreCounted() throws {
    let envelope = try WireCodec.encode(.submit(Submission(runs: [SampleRun(label: "label", seed: 1)])), request: 1)[0]
    for bytes in 0..<2000 {
      do throws(WireError) {
        try unpack(envelope, UnpackBudget(bytes: bytes, allocations: 1000))
      } catch {
        #expect(error.code == .tooLarge)
      }
    }
  }

  private func unpack(_ envelope: Frame, _ budget: UnpackBudget) throws(WireError) {
    try envelope.withUnsafeBytes { (bytes) throws(WireError) in
      try withUnpacked(
        bytes, "envelope", budget: budget, unpack: weir__v1__envelope__unpack, free: weir__v1__envelope__free_unpacked
      ) { (_) throws(WireError) in }
    }
  }
}
