import Foundation
import Tensors
import Testing

extension TensorsTests {
  @Suite struct AdamWSteps {
    /// Loshchilov & Hutter 2019, algorithm 2, in float64.
    struct Reference {
      var x: [Double]
      var m: [Double]
      var v: [Double]
      var step = 0

      init(_ x: [Double]) {
        self.x = x
        m = x.map { _ in 0 }
        v = m
      }

      mutating func update(_ gradient: [Double], _ o: AdamW.Options) {
        step += 1
        for i in x.indices {
          x[i] -= o.rate * o.weightDecay * x[i]
          m[i] = o.beta1 * m[i] + (1 - o.beta1) * gradient[i]
          v[i] = o.beta2 * v[i] + (1 - o.beta2) * gradient[i] * gradient[i]
          let mean = m[i] / (1 - pow(o.beta1, Double(step)))
          let square = v[i] / (1 - pow(o.beta2, Double(step)))
          x[i] -= o.rate * mean / (square.squareRoot() + o.eps)
        }
      }
    }

    static let start: [Float] = [0.5, -1, 2, 0.25]
    static let factors: [Float] = [1, -2, 0.5, 100]

    /// The gradient of sum(factors * x^2) is 2 * factors * x.
    static func backward(_ x: Tensor) throws {
      try x.square().mul(Tensor(factors, shape: x.shape)).sum().backward()
    }

    @Test func followsTheAlgorithm() throws {
      let x = try Tensor(Self.start, shape: [4]).requiresGrad(true)
      var options = AdamW.Options(rate: 0.1, beta1: 0.8, beta2: 0.95, eps: 1e-6, weightDecay: 0.2)
      let optimizer = try AdamW([("x", x)], options: options)
      var reference = Reference(Self.start.map(Double.init))
      for step in 0..<10 {
        options.rate = 0.1 / Double(step + 1)
        optimizer.options = options
        reference.update(zip(reference.x, Self.factors).map { 2 * $0 * Double($1) }, options)
        try Self.backward(x)
        try optimizer.step()
        try optimizer.clearGradients()
        try expectClose(x, reference.x.map(Float.init), within: 1e-5, "step \(step)")
      }
      #expect(optimizer.stepCount == 10)
    }

    /// With bias correction the first step is rate * sign(gradient), whatever the gradient's size.
    @Test func firstStepIsTheRate() throws {
      let x = try Tensor(Self.start, shape: [4]).requiresGrad(true)
      let optimizer = try AdamW([("x", x)], options: .init(rate: 0.01, weightDecay: 0))
      try Self.backward(x)
      try optimizer.step()
      let signs = zip(Self.start, Self.factors).map { $0 * $1 > 0 ? Float(1) : -1 }
      try expectClose(x, zip(Self.start, signs).map { $0 - 0.01 * $1 }, within: 1e-6)
    }

    @Test func parametersWithoutGradientStay() throws {
      let x = try Tensor(Self.start, shape: [4]).requiresGrad(true)
      let idle = try Tensor(Self.start, shape: [4]).requiresGrad(true)
      let optimizer = try AdamW([("x", x), ("idle", idle)], options: .init(rate: 0.01))
      try optimizer.step()
      #expect(try x.floats() == Self.start)
      try Self.backward(x)
      try optimizer.step()
      #expect(try idle.floats() == Self.start)
      #expect(try x.floats() != Self.start)
    }

    /// Weights in channels-last memory: the fused kernel walks memory, so layouts must agree.
    @Test func anyLayout() throws {
      var numbers = SeededNumbers(seed: 30)
      let values = numbers.floats(2 * 3 * 2 * 2)
      let factors = try numbers.tensor([2, 3, 2, 2])
      func run(_ x: Tensor) throws -> [Float] {
        let leaf = try x.requiresGrad(true)
        let optimizer = try AdamW([("x", leaf)], options: .init(rate: 0.1))
        for _ in 0..<3 {
          try optimizer.clearGradients()
          try leaf.square().mul(factors).sum().backward()
          try optimizer.step()
        }
        return try leaf.floats()
      }
      let expected = try run(Tensor(values, shape: [2, 3, 2, 2]))
      #expect(try run(Tensor(values, shape: [2, 3, 2, 2]).channelsLast()) == expected)
    }

    @Test func resumesExactly() throws {
      func optimizer(_ values: [Float]) throws -> (Tensor, AdamW) {
        let x = try Tensor(values, shape: [4]).requiresGrad(true)
        return (x, try AdamW([("x", x)], options: .init(rate: 0.05)))
      }
      func steps(_ x: Tensor, _ optimizer: AdamW, _ count: Int) throws {
        for _ in 0..<count {
          try Self.backward(x)
          try optimizer.step()
          try optimizer.clearGradients()
        }
      }
      let (whole, first) = try optimizer(Self.start)
      try steps(whole, first, 4)
      let saved = try whole.floats()
      let state = Dictionary(uniqueKeysWithValues: try first.state().map { ($0.0, try $0.1.clone()) })
      try steps(whole, first, 3)

      let (resumed, second) = try optimizer(saved)
      try second.load(state)
      #expect(second.stepCount == 4)
      try steps(resumed, second, 3)
      #expect(try resumed.floats() == whole.floats())
    }

    @Test func refusesAStateThatDoesNotFit() throws {
      let x = try Tensor(Self.start, shape: [4]).requiresGrad(true)
      let optimizer = try AdamW([("x", x)], options: .init(rate: 0.05))
      let step = try Tensor([1] as [Int64], shape: [1])
      #expect(throws: TorchError(operation: "AdamW.load", message: "the state has no 'step'")) { try optimizer.load([:]) }
      #expect(throws: TorchError(operation: "AdamW.load", message: "the state has no 'x.m'")) { try optimizer.load(["step": step]) }
      #expect(throws: TorchError.self) { try optimizer.load(["step": step, "x.m": x.detach(), "x.v": step]) }
      #expect(throws: TorchError.self) {
        try optimizer.load(["step": Tensor([-1] as [Int64], shape: [1]), "x.m": x.detach(), "x.v": x.detach()])
      }
      #expect(optimizer.stepCount == 0)
      #expect(throws: TorchError.self) { try AdamW([("x", x), ("x", x)], options: .init(rate: 1)) }
    }
  }
}
