/// Philox4x32-10 (Salmon et al. 2011): four random words for every (counter, key).
package enum Philox {
  @inline(__always)
  package static func block(_ counter: SIMD4<UInt32>, key: SIMD2<UInt32>, rounds: Int = 10) -> SIMD4<UInt32> {
    var (c0, c1, c2, c3) = (counter.x, counter.y, counter.z, counter.w)
    var (k0, k1) = (key.x, key.y)
    for _ in 0..<rounds {
      let p0 = UInt64(c0) &* 0xD251_1F53
      let p1 = UInt64(c2) &* 0xCD9E_8D57
      (c0, c1, c2, c3) = (
        UInt32(truncatingIfNeeded: p1 >> 32) ^ c1 ^ k0, UInt32(truncatingIfNeeded: p1),
        UInt32(truncatingIfNeeded: p0 >> 32) ^ c3 ^ k1, UInt32(truncatingIfNeeded: p0)
      )
      k0 &+= 0x9E37_79B9
      k1 &+= 0xBB67_AE85
    }
    return SIMD4(c0, c1, c2, c3)
  }

  /// Four standard normals from one block: Box–Muller on the words (0, 1) and (2, 3) with cuRAND's mapping, in float64.
  ///
  /// u = (x + ½)·2⁻³², v = 2π·(y + ½)·2⁻³², r = √(-2 ln u); the normals are r·sin v, r·cos v. |n| <= 6.7637.
  @inline(__always)
  package static func normals(_ words: SIMD4<UInt32>) -> SIMD4<Double> {
    let (a, b) = pair(words.x, words.y)
    let (c, d) = pair(words.z, words.w)
    return SIMD4(a, b, c, d)
  }

  @inline(__always)
  private static func pair(_ x: UInt32, _ y: UInt32) -> (Double, Double) {
    let u = Double(UInt64(x) &* 2 &+ 1) * (1.0 / 8_589_934_592)
    let r = (-2 * PortableMath.log(u)).squareRoot()
    let (sin, cos) = PortableMath.sinCosTurn(y)
    return (r * sin, r * cos)
  }
}
