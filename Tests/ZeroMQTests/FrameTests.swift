import Testing
import ZeroMQ

@Suite struct FrameTests {
  @Test func equalByContent() {
    let frame = Frame([1, 2, 3])
    #expect(frame == Frame([1, 2, 3]))
    #expect(frame.hashValue == Frame([1, 2, 3]).hashValue)
    #expect(frame != Frame([1, 2, 4]))
    #expect(frame != Frame([1, 2]))
    #expect(Frame([]) == Frame(count: 0) { _ in })
    #expect(Frame([]).bytes == [])
    #expect(frame.bytes == [1, 2, 3])
  }

  @Test func copies() {
    let bytes: [UInt8] = Array(0...255)
    let frame = bytes.withUnsafeBytes { Frame(copying: $0) }
    #expect(frame.count == 256)
    #expect(frame.bytes == bytes)
    // What may be a tensor can be loaded into vectors.
    for (count, alignment) in [(1, 16), (4095, 16), (4096, 64), (1_000_000, 64)] {
      Frame(count: count) { $0.initializeMemory(as: UInt8.self, repeating: 1) }.withUnsafeBytes {
        #expect(Int(bitPattern: $0.baseAddress) % alignment == 0, "\(count) bytes")
      }
    }
  }

  @Test func passesErrorsOn() {
    struct Failure: Error {}
    #expect(throws: Failure.self) { try Frame([1]).withUnsafeBytes { _ throws(Failure) in throw Failure() } }
  }
}
