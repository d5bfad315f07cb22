/// Logarithm, exponential, sine and cosine in float64 from additions, multiplications and divisions alone.
///
/// The C library picks its code by processor and release, and the last bit of its results moves with it; a sample's bytes must not.
/// Errors are below one unit in the last place.
///
/// Polynomials and coefficients are those of fdlibm:
/// Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved. Developed at SunSoft, a Sun Microsystems, Inc. business.
/// Permission to use, copy, modify, and distribute this software is freely granted, provided that this notice is preserved.
package enum PortableMath {
  /// ln x of a positive normal number.
  @inline(__always)
  package static func log(_ x: Double) -> Double {
    // x = 2^k · m with m in [√½, √2).
    let bits = x.bitPattern &+ (0x3ff0_0000_0000_0000 &- 0x3fe6_a09e_0000_0000)
    let k = Double(Int64(bits >> 52) &- 0x3ff)
    let f = Double(bitPattern: (bits & 0x000f_ffff_ffff_ffff) &+ 0x3fe6_a09e_0000_0000) - 1
    let half = 0.5 * f * f
    let s = f / (2 + f)
    let z = s * s
    let w = z * z
    let t1 = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    let t2 =
      z
      * (6.666666666666735130e-01 + w
        * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)))
    return s * (half + (t1 + t2)) + k * ln2Low - half + f + k * ln2High
  }

  /// eˣ; x is taken into [-700, 700] first, which covers every log-variance there is.
  @inline(__always)
  package static func exp(_ value: Double) -> Double {
    let x = value < -700 ? -700 : (value > 700 ? 700 : value)
    let k = (x * 1.44269504088896338700e+00).rounded(.toNearestOrEven)
    let high = x - k * ln2High
    let low = k * ln2Low
    let r = high - low
    let rr = r * r
    let p3 = 6.61375632143793436117e-05 + rr * (-1.65339022054652515390e-06 + rr * 4.13813679705723846039e-08)
    let c = r - rr * (1.66666666666666019037e-01 + rr * (-2.77777777770155933842e-03 + rr * p3))
    let y = 1 + (r * c / (2 - c) - low + high)
    guard k == k else { return x }
    return y * Double(bitPattern: UInt64(Int64(k) &+ 1023) << 52)
  }

  /// cos(x·π/2) for x in [0, 1], exact at both ends.
  package static func cosQuarterTurns(_ x: Double) -> Double {
    x <= 0.5 ? kernelCos(x * (Double.pi / 2)) : kernelSin((1 - x) * (Double.pi / 2))
  }

  /// Sine and cosine of 2π·(y + ½)/2³². The quadrant is found in integers, so no accuracy is lost to it.
  @inline(__always)
  package static func sinCosTurn(_ y: UInt32) -> (sin: Double, cos: Double) {
    let n = Int64(y) &* 2 &+ 1
    let quadrant = (n &+ (1 << 30)) >> 31
    let angle = Double(n &- quadrant << 31) * (Double.pi / 4_294_967_296)
    let s = kernelSin(angle)
    let c = kernelCos(angle)
    // Odd quadrants swap the two, signs follow; written without branches.
    let swap = quadrant & 1 != 0
    let sinSign: Double = quadrant & 2 != 0 ? -1 : 1
    let cosSign: Double = (quadrant &+ 1) & 2 != 0 ? -1 : 1
    return (sinSign * (swap ? c : s), cosSign * (swap ? s : c))
  }

  /// |x| <= π/4.
  @inline(__always)
  private static func kernelSin(_ x: Double) -> Double {
    let z = x * x
    let w = z * z
    let r =
      8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04 + z * 2.75573137070700676789e-06) + z * w
      * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    return x + z * x * (-1.66666666666666324348e-01 + z * r)
  }

  /// |x| <= π/4.
  @inline(__always)
  private static func kernelCos(_ x: Double) -> Double {
    let z = x * x
    let zz = z * z
    let r =
      z * (4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * 2.48015872894767294178e-05)) + zz * zz
      * (-2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11))
    let half = 0.5 * z
    let w = 1 - half
    return w + (((1 - w) - half) + z * r)
  }

  private static let ln2High = 6.93147180369123816490e-01
  private static let ln2Low = 1.90821492927058770002e-10
}
