import Diffusion

/// The random numbers of one training example: a pure function of (run seed, example number, purpose), so that neither the batch
/// size nor a resumed run changes what an example sees.
///
/// Philox key = seed; counter word 3 = 2^31 | purpose (sampling leaves that bit clear), words 2 and 1 = example number,
/// word 0 = block.
package struct ExampleRandom: Sendable {
  package enum Purpose: UInt32, Sendable {
    case timestep, noise, level, lowResNoise, blur, sigma, cropTop, cropLeft, flip, labelDrop, redrawn
  }

  private let key: SIMD2<UInt32>
  private let example: UInt64

  package init(seed: UInt64, example: UInt64) {
    key = SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
    self.example = example
  }

  /// Uniform in 0..<bound, by Lemire's multiplication; its bias is below bound/2^32.
  package func below(_ bound: Int, _ purpose: Purpose) -> Int {
    Int(truncatingIfNeeded: (UInt64(block(0, purpose).x) &* UInt64(bound)) >> 32)
  }

  /// Uniform in 0..<1.
  package func uniform(_ purpose: Purpose) -> Double {
    Double(block(0, purpose).x) * 0x1p-32
  }

  /// `count` standard normals.
  package func normals(_ count: Int, _ purpose: Purpose) -> [Float] {
    [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      var i = 0
      var index: UInt32 = 0
      while i < count {
        let four = Philox.normals(block(index, purpose))
        for lane in 0..<min(4, count - i) { buffer.initializeElement(at: i + lane, to: Float(four[lane])) }
        i += 4
        index &+= 1
      }
      initialized = count
    }
  }

  @inline(__always)
  private func block(_ index: UInt32, _ purpose: Purpose) -> SIMD4<UInt32> {
    Philox.block(
      SIMD4(index, UInt32(truncatingIfNeeded: example), UInt32(truncatingIfNeeded: example >> 32), 1 << 31 | purpose.rawValue), key: key)
  }
}
