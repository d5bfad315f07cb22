/// Conditioning augmentation: what is done to a super-resolution stage's low-resolution input (Ho et al. 2022, section 4).
package enum Augmentation {
  /// z_s = √ᾱ_s·z_0 + √(1-ᾱ_s)·ε_z at low resolution, before any upsampling.
  ///
  /// s in 0…T counts steps, so it reads ᾱ at index s-1; s = 0 returns z_0. ε_z is fixed by the noise source, so every step of a sample, and every
  /// retry of it, sees the same z_s.
  package static func zS(_ z0: [Float], s: Int, schedule: Schedule, noise: NoiseSource) -> [Float] {
    precondition((0...schedule.steps).contains(s), "s lies between 0 and \(schedule.steps)")
    guard s > 0 else { return z0 }
    let signal = Float(schedule.alphaBars[s - 1].squareRoot())
    let spread = Float((1 - schedule.alphaBars[s - 1]).squareRoot())
    var z = noise.field(.augmentation, timestep: s, count: z0.count)
    for i in z.indices { z[i] = signal * z0[i] + spread * z[i] }
    return z
  }

  /// One axis of the 3×3 Gaussian blur kernel; the kernel is its outer product with itself. Training only: sampling never blurs.
  package static func blurKernel(sigma: Double) -> (side: Double, centre: Double) {
    precondition(sigma > 0, "a blur has a positive sigma")
    let e = PortableMath.exp(-1 / (2 * sigma * sigma))
    return (e / (1 + 2 * e), 1 / (1 + 2 * e))
  }
}
