import Diffusion
import Testing

/// Within `relative` of each other.
func close(_ a: Double, _ b: Double, _ relative: Double = 1e-9) -> Bool { abs(a - b) <= relative * max(abs(a), abs(b), 1e-300) }

@Suite struct ScheduleTests {
  struct Row: Sendable {
    var kind: ScheduleKind
    var steps, i: Int
    var beta, alphaBar, logVariance, c1, c2: Double
  }

  static let rows = [
    Row(kind: .cosine, steps: 1000, i: 0, beta: 4.128422482e-05, alphaBar: 0.9999587158, logVariance: -10.7340825, c1: 1, c2: 0),
    Row(
      kind: .cosine, steps: 1000, i: 1, beta: 4.614175274e-05, alphaBar: 0.9999125759, logVariance: -10.7340825, c1: 0.5277814,
      c2: 0.4722186),
    Row(
      kind: .cosine, steps: 1000, i: 500, beta: 3.155691442e-03, alphaBar: 0.4922851724, logVariance: -5.7616218, c1: 0.0043679,
      c2: 0.9953563),
    Row(
      kind: .cosine, steps: 1000, i: 999, beta: 0.999, alphaBar: 2.428766907e-09, logVariance: -0.0010029, c1: 0.0015569, c2: 0.0316227),
    Row(kind: .cosine, steps: 4000, i: 0, beta: 9.865818814e-06, alphaBar: 0.9999901342, logVariance: -12.2045371, c1: 1, c2: 0),
    Row(
      kind: .cosine, steps: 4000, i: 1000, beta: 3.314334927e-04, alphaBar: 0.8467314331, logVariance: -8.0139167, c1: 0.0019902,
      c2: 0.9980030),
    Row(
      kind: .cosine, steps: 4000, i: 2000, beta: 7.889355535e-04, alphaBar: 0.4934539797, logVariance: -7.1455954, c1: 0.0010945,
      c2: 0.9988366),
    Row(
      kind: .cosine, steps: 4000, i: 3999, beta: 0.999, alphaBar: 1.517980469e-10, logVariance: -0.0010007, c1: 0.0003892, c2: 0.0316228),
    Row(kind: .linear, steps: 1000, i: 0, beta: 1.0e-4, alphaBar: 0.9999, logVariance: -9.8167251, c1: 1, c2: 0),
    Row(
      kind: .linear, steps: 1000, i: 500, beta: 1.005995996e-02, alphaBar: 0.07779665837, logVariance: -4.6000497, c1: 0.0030581,
      c2: 0.9941044),
    Row(
      kind: .linear, steps: 1000, i: 999, beta: 0.02, alphaBar: 4.035829765e-05, logVariance: -3.9120238, c1: 0.0001284, c2: 0.9899487),
    Row(
      kind: .linear, steps: 2000, i: 1000, beta: 5.027488744e-03, alphaBar: 0.07842950311, logVariance: -5.2932648, c1: 0.0015316,
      c2: 0.9970541),
    Row(
      kind: .linear, steps: 4000, i: 3999, beta: 5.0e-3, alphaBar: 4.246652276e-05, logVariance: -5.2983176, c1: 0.0000327, c2: 0.9974967),
  ]

  @Test(arguments: rows) func knownValues(_ row: Row) throws {
    let schedule = try Schedule(row.kind, steps: row.steps)
    #expect(close(schedule.betas[row.i], row.beta))
    #expect(close(schedule.alphaBars[row.i], row.alphaBar))
    #expect(abs(schedule.posteriorLogVarianceClipped(row.i) - row.logVariance) < 6e-8)
    let (c1, c2) = schedule.posteriorMeanCoefficients(row.i)
    #expect(abs(c1 - row.c1) < 6e-8)
    #expect(abs(c2 - row.c2) < 6e-8)
  }

  @Test func cosineClipsOnlyTheLastBeta() throws {
    let betas = try Schedule(.cosine, steps: 1000).betas
    #expect(betas.indices.filter { betas[$0] == 0.999 } == [999])
  }

  @Test(arguments: [-1, 0, 1, 100_001, Int.max]) func refusesStepCounts(_ steps: Int) {
    #expect(throws: DiffusionError.self) { try Schedule(.cosine, steps: steps) }
  }

  @Test func respacedBetas() throws {
    let linear = try Schedule(.linear, steps: 1000)
    let a = linear.respaced(try Respacing.indices("250", trainSteps: 1000)).betas
    #expect(a.count == 250)
    #expect(close(a[0], 9.99999999999e-05))
    #expect(close(a[1], 5.990655644756e-04))
    #expect(close(a[124], 0.0392887931))
    #expect(close(a[249], 0.0775193450))
    let b = try Schedule(.cosine, steps: 4000).respaced(try Respacing.indices("100", trainSteps: 4000)).betas
    #expect(close(b[0], 9.8658188137e-06))
    #expect(close(b[1], 6.4342114014e-04))
    #expect(close(b[50], 0.0318425182, 2e-9))
    #expect(close(b[99], 0.9999993749))
  }

  @Test func respacedProductsAreTheOriginalOnes() throws {
    let schedule = try Schedule(.cosine, steps: 1000)
    let indices = try Respacing.indices("25", trainSteps: 1000)
    let respaced = schedule.respaced(indices)
    for (k, i) in indices.enumerated() { #expect(close(respaced.alphaBars[k], schedule.alphaBars[i], 1e-6)) }
  }

  @Test func lossCoefficients() throws {
    let schedule = try Schedule(.cosine, steps: 4000)
    let loss = LossCoefficients(schedule, timestep: 2000, prediction: .v)
    #expect(close(loss.signal * loss.signal + loss.noise * loss.noise, 1))
    #expect(loss.targetX0 == -loss.noise && loss.targetNoise == loss.signal)
    // x0 from a perfect output is x0: with x0 = 0.3 and noise 1.7.
    let (x, v) = (loss.signal * 0.3 + loss.noise * 1.7, loss.targetX0 * 0.3 + loss.targetNoise * 1.7)
    #expect(close(loss.x0FromX * x + loss.x0FromOutput * v, 0.3))
    #expect(abs(loss.logVarianceLow - -7.1455954) < 6e-8)
    #expect(close(loss.logVarianceHigh, PortableMath.log(7.889355535e-04)))
    #expect(loss.variationalWeight == 4)
    #expect(!loss.isDecoder && LossCoefficients(schedule, timestep: 0, prediction: .epsilon).isDecoder)
  }
}
