import Diffusion
import Foundation
import Tensors
import Testing

@testable import Training

@Suite struct LossTests {
  private static let side = 2

  /// Three examples at chosen timesteps; example 0 has pixels at both ends of the range.
  private func batch(_ timesteps: [Int]) -> Batch {
    let size = 3 * Self.side * Self.side
    var batch = Batch(count: timesteps.count, side: Self.side)
    for i in timesteps.indices {
      batch.x0 += (0..<size).map { $0 == 0 && i == 0 ? 1 : $0 == 1 && i == 0 ? -1 : sin(Float($0 + i * 5)) * 0.9 }
    }
    batch.noise = ExampleRandom(seed: 5, example: 0).normals(size * timesteps.count, .noise)
    batch.timesteps = timesteps
    batch.labels = timesteps.map { _ in 0 }
    return batch
  }

  private func output(_ count: Int, channels: Int) throws -> Tensor {
    let values = ExampleRandom(seed: 6, example: 0).normals(count * channels * Self.side * Self.side, .noise).map { $0 * 0.7 }
    return try Tensor(values, shape: [count, channels, Self.side, Self.side])
  }

  @Test(arguments: Prediction.allCases) func simpleLossIsTheMeanSquaredError(prediction: Prediction) throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    let batch = batch([0, 300, 999])
    let loss = DiffusionLoss(schedule: schedule, prediction: prediction, variance: .fixedSmall)
    let prepared = try loss.prepare(batch, device: .cpu)
    let out = try output(3, channels: 3)
    let outs = try out.floats()
    let xt = try prepared.xt.floats()
    var sum = 0.0
    for (i, t) in batch.timesteps.enumerated() {
      let a = schedule.alphaBars[t].squareRoot()
      let b = (1 - schedule.alphaBars[t]).squareRoot()
      for j in i * 12..<(i + 1) * 12 {
        let (x, e) = (Double(batch.x0[j]), Double(batch.noise[j]))
        #expect(abs(Double(xt[j]) - (a * x + b * e)) < 1e-6)
        let target =
          switch prediction {
          case .epsilon: e
          case .v: a * e - b * x
          case .x0: x
          }
        sum += (Double(outs[j]) - target) * (Double(outs[j]) - target)
      }
    }
    #expect(abs(try loss.loss(output: out, prepared).item() - sum / 36) < 1e-5)
  }

  /// cdm-facts 2.9 and 2.10, element by element in Double.
  @Test(arguments: [Prediction.epsilon, .v], [100, 4000]) func hybridLossAddsTheVariationalTerm(prediction: Prediction, steps: Int) throws {
    let schedule = try Schedule(.cosine, steps: steps)
    let batch = batch([0, 1, steps / 2])
    let loss = DiffusionLoss(schedule: schedule, prediction: prediction, variance: .learnedRange)
    let prepared = try loss.prepare(batch, device: .cpu)
    let out = try output(3, channels: 6)
    let outs = try out.floats().map(Double.init)
    func cdf(_ x: Double) -> Double { 0.5 * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x))) }
    var simple = 0.0
    var variational = 0.0
    for (i, t) in batch.timesteps.enumerated() {
      let alphaBar = schedule.alphaBars[t]
      let (a, b) = (alphaBar.squareRoot(), (1 - alphaBar).squareRoot())
      let before = t == 0 ? 1 : schedule.alphaBars[t - 1]
      let beta = schedule.betas[t]
      let c1 = beta * before.squareRoot() / (1 - alphaBar)
      let c2 = (1 - before) * (1 - beta).squareRoot() / (1 - alphaBar)
      let low = log(schedule.posteriorVariance(max(t, 1)))
      for j in 0..<12 {
        let (x, e) = (Double(batch.x0[i * 12 + j]), Double(batch.noise[i * 12 + j]))
        let (o, v) = (outs[i * 24 + j], outs[i * 24 + 12 + j])
        let xt = a * x + b * e
        let target = prediction == .v ? a * e - b * x : e
        simple += (o - target) * (o - target)
        let estimate = prediction == .v ? a * xt - b * o : (xt - b * o) / a
        let mean = c1 * estimate + c2 * xt
        let logVariance = (v + 1) / 2 * log(beta) + (1 - v) / 2 * low
        if t > 0 {
          let gap = c1 * x + c2 * xt - mean
          variational += 0.5 * (-1 + logVariance - low + exp(low - logVariance) + gap * gap * exp(-logVariance))
        } else {
          let upper = cdf((x - mean + 1.0 / 255) * exp(-0.5 * logVariance))
          let lower = cdf((x - mean - 1.0 / 255) * exp(-0.5 * logVariance))
          let mass = x < -0.999 ? upper : x > 0.999 ? 1 - lower : upper - lower
          variational -= log(max(mass, 1e-12))
        }
      }
    }
    let expected = simple / 36 + variational / 36 / log(2) * Double(steps) / 1000
    let found = try loss.loss(output: out, prepared).item()
    #expect(abs(found - expected) < 2e-4 * abs(expected), "found \(found), expected \(expected)")
  }

  @Test func theVariationalTermDoesNotMoveThePrediction() throws {
    let schedule = try Schedule(.cosine, steps: 100)
    let loss = DiffusionLoss(schedule: schedule, prediction: .v, variance: .learnedRange)
    let prepared = try loss.prepare(batch([0, 40]), device: .cpu)
    func gradient(hybrid: Bool) throws -> [Float] {
      let out = try output(2, channels: 6).requiresGrad(true)
      let plain = DiffusionLoss(schedule: schedule, prediction: .v, variance: .fixedSmall)
      let value = hybrid ? try loss.loss(output: out, prepared) : try plain.loss(output: out.narrow(dim: 1, start: 0, length: 3), prepared)
      try value.backward()
      return try #require(try out.grad).floats()
    }
    let (hybrid, simple) = (try gradient(hybrid: true), try gradient(hybrid: false))
    for i in 0..<2 {
      for j in 0..<12 { #expect(abs(hybrid[i * 24 + j] - simple[i * 24 + j]) < 1e-6) }
      #expect(hybrid[(i * 24 + 12)..<(i + 1) * 24].contains { $0 != 0 })
    }
  }
}
