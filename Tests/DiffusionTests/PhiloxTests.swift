import Diffusion
import Foundation
import Testing

@Suite struct PhiloxTests {
  static let pi = (
    counter: SIMD4<UInt32>(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), key: SIMD2<UInt32>(0xa409_3822, 0x299f_31d0)
  )

  @Test func knownAnswers() {
    let ones = UInt32.max
    #expect(Philox.block(.zero, key: .zero) == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
    #expect(
      Philox.block(SIMD4(repeating: ones), key: SIMD2(repeating: ones)) == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    #expect(Philox.block(Self.pi.counter, key: Self.pi.key) == SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    #expect(Philox.block(.zero, key: .zero, rounds: 7) == SIMD4(0x5f6f_b709, 0x0d89_3f64, 0x4f12_1f81, 0x4f73_0a48))
  }

  @Test func knownNormals() {
    let zero = Philox.normals(Philox.block(.zero, key: .zero))
    let pi = Philox.normals(Philox.block(Self.pi.counter, key: Self.pi.key))
    for (value, known) in [
      (zero[0], -0.9246625877), (zero[1], 0.9911376799), (zero[2], -0.4820685875), (zero[3], -0.6176089595), (pi[0], -0.3122491133),
      (pi[1], -0.5514679005), (pi[2], 1.1806735951), (pi[3], 0.9654671461),
    ] {
      #expect(abs(value - known) < 6e-11)
    }
    // PyTorch's generator on a GPU, seed 42: key 42, counter 0.
    let torch = Philox.normals(Philox.block(.zero, key: SIMD2(42, 0)))
    #expect(abs(torch[0] - 0.19401896) < 5e-8)
  }

  @Test func extremesStayInRange() {
    let far = Philox.normals(SIMD4(0, 0, 0, .max))
    #expect(far.indices.allSatisfy { abs(far[$0]) <= 6.7638 })
    let near = Philox.normals(SIMD4(.max, 0, .max, .max))
    #expect(near.indices.allSatisfy { near[$0].isFinite && abs(near[$0]) < 1e-4 })
  }

  @Test func agreesWithTheTextbookFormula() {
    let source = NoiseSource(seed: 0x0123_4567_89ab_cdef, stage: 2)
    let field = source.field(.step, timestep: 749, count: 4096)
    for block in stride(from: 0, to: 1024, by: 17) {
      let words = Philox.block(SIMD4(UInt32(block), 0, 749, 0x0201), key: SIMD2(0x89ab_cdef, 0x0123_4567))
      for pair in 0..<2 {
        let u = (Double(words[2 * pair]) + 0.5) / 4_294_967_296
        let v = (Double(words[2 * pair + 1]) + 0.5) / 4_294_967_296 * 2 * Double.pi
        let r = (-2 * Foundation.log(u)).squareRoot()
        #expect(abs(Double(field[4 * block + 2 * pair]) - r * Foundation.sin(v)) < 1e-6)
        #expect(abs(Double(field[4 * block + 2 * pair + 1]) - r * Foundation.cos(v)) < 1e-6)
      }
    }
  }

  @Test func momentsAreThoseOfANormal() {
    let field = NoiseSource(seed: 7, stage: 0).field(.initial, timestep: 1000, count: 1 << 16).map(Double.init)
    let n = Double(field.count)
    let mean = field.reduce(0, +) / n
    let variance = field.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / n
    let fourth = field.reduce(0) { $0 + pow($1 - mean, 4) } / n / (variance * variance)
    #expect(abs(mean) < 0.02 && abs(variance - 1) < 0.03 && abs(fourth - 3) < 0.15)
  }

  @Test func everyCoordinateMatters() {
    let base = NoiseSource(seed: 1, stage: 0).field(.step, timestep: 5, count: 12)
    for other in [
      NoiseSource(seed: 2, stage: 0).field(.step, timestep: 5, count: 12),
      NoiseSource(seed: 1 + 1 << 32, stage: 0).field(.step, timestep: 5, count: 12),
      NoiseSource(seed: 1, stage: 1).field(.step, timestep: 5, count: 12),
      NoiseSource(seed: 1, stage: 0).field(.initial, timestep: 5, count: 12),
      NoiseSource(seed: 1, stage: 0).field(.step, timestep: 6, count: 12),
    ] {
      #expect(zip(base, other).allSatisfy { $0 != $1 })
    }
    // The length does not.
    #expect(NoiseSource(seed: 1, stage: 0).field(.step, timestep: 5, count: 7) == Array(base.prefix(7)))
  }
}

@Suite struct PortableMathTests {
  @Test func agreesWithTheCLibrary() {
    var x = 1e-300
    while x < 1e300 {
      #expect(abs(PortableMath.log(x) - Foundation.log(x)) <= Foundation.log(x).ulp)
      x *= 1.0137e3
    }
    for i in 0...4000 {
      let u = (Double(i) + 0.5) / 4001
      #expect(abs(PortableMath.log(u) - Foundation.log(u)) <= Foundation.log(u).ulp)
      #expect(abs(PortableMath.cosQuarterTurns(u) - Foundation.cos(u * Double.pi / 2)) <= 2.3e-16)
      let y = (u - 0.5) * 80
      #expect(abs(PortableMath.exp(y) - Foundation.exp(y)) <= Foundation.exp(y).ulp)
      let word = UInt32(truncatingIfNeeded: UInt64(i) &* 0x9E37_79B9)
      let angle = (Double(word) + 0.5) * (2 * Double.pi / 4_294_967_296)
      #expect(abs(PortableMath.sinCosTurn(word).sin - Foundation.sin(angle)) < 1e-15)
      #expect(abs(PortableMath.sinCosTurn(word).cos - Foundation.cos(angle)) < 1e-15)
    }
    #expect(PortableMath.cosQuarterTurns(1) == 0 && PortableMath.cosQuarterTurns(0) == 1)
    #expect(PortableMath.exp(.nan).isNaN)
  }

  /// A change of a single bit, by compiler, optimisation level or machine, would change images.
  @Test func bitsAreFixed() throws {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func mix(_ bits: UInt64) { hash = (hash ^ bits) &* 0x0000_0100_0000_01b3 }
    for value in NoiseSource(seed: 42, stage: 1).field(.step, timestep: 500, count: 8192) { mix(UInt64(value.bitPattern)) }
    for kind in ScheduleKind.allCases {
      let schedule = try Schedule(kind, steps: 1000)
      for value in schedule.betas + schedule.alphaBars { mix(value.bitPattern) }
      for i in 0..<1000 { mix(schedule.posteriorLogVarianceClipped(i).bitPattern) }
    }
    #expect(String(hash, radix: 16) == "6ab8c39679b8e0e1")
  }
}
