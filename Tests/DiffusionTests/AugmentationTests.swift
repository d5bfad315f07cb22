import Diffusion
import Testing

@Suite struct AugmentationTests {
  @Test(arguments: [(0.4, 0.0403879, 0.9192242), (0.5, 0.1065070, 0.7869860), (0.6, 0.1663785, 0.6672430)])
  func blurKernel(_ sigma: Double, _ side: Double, _ centre: Double) {
    let kernel = Augmentation.blurKernel(sigma: sigma)
    #expect(abs(kernel.side - side) < 6e-8 && abs(kernel.centre - centre) < 6e-8)
    #expect(abs(2 * kernel.side + kernel.centre - 1) < 1e-15)
  }

  @Test func zeroIsClean() throws {
    let z0 = (0..<48).map { Float($0) / 48 }
    let noise = NoiseSource(seed: 3, stage: 1)
    #expect(try Augmentation.zS(z0, s: 0, schedule: Schedule(.cosine, steps: 1000), noise: noise) == z0)
  }

  @Test(arguments: [1, 250, 1000]) func levelsReadTheIndexBefore(_ s: Int) throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    let noise = NoiseSource(seed: 3, stage: 1)
    let z0 = (0..<48).map { Float($0) / 48 }
    let drawn = noise.field(.augmentation, timestep: s, count: 48)
    let z = Augmentation.zS(z0, s: s, schedule: schedule, noise: noise)
    let alphaBar = schedule.alphaBars[s - 1]
    for i in z.indices {
      let expected = alphaBar.squareRoot() * Double(z0[i]) + (1 - alphaBar).squareRoot() * Double(drawn[i])
      #expect(abs(Double(z[i]) - expected) < 1e-6)
    }
  }
}
