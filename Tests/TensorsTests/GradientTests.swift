import Foundation
import Tensors
import Testing

extension TensorsTests {
  @Suite struct Gradients {
    /// Compares the gradient of sum(f(inputs) * fixed random weights) with central differences, in float64.
    func check(
      _ shapes: [[Int]], seed: UInt64 = 20, tolerance: Double = 1e-6, _ label: String = #function, _ f: ([Tensor]) throws -> Tensor
    ) throws {
      var numbers = SeededNumbers(seed: seed)
      let values = shapes.map { numbers.floats($0.reduce(1, *), 0.2, 1) }
      let sample = try f(zip(values, shapes).map { try Tensor($0, shape: $1).to(.f64) })
      let weights = try numbers.tensor(sample.shape).to(.f64)
      func loss(_ inputs: [Tensor]) throws -> Tensor { try f(inputs).mul(weights).sum() }

      let leaves = try zip(values, shapes).map { try Tensor($0, shape: $1).to(.f64).requiresGrad(true) }
      try loss(leaves).backward()
      for (which, leaf) in leaves.enumerated() {
        let gradient = try #require(try leaf.grad, "\(label): input \(which) got no gradient").floats()
        for index in gradient.indices {
          // A power of two well above f32's spacing, so that both points are exact.
          let step: Float = 0x1p-10
          func shifted(_ by: Float) throws -> Double {
            var changed = values
            changed[which][index] += by
            return try loss(zip(changed, shapes).map { try Tensor($0, shape: $1).to(.f64) }).item()
          }
          let (up, down) = (values[which][index] + step, values[which][index] - step)
          let numeric = try (shifted(step) - shifted(-step)) / Double(up - down)
          if abs(Double(gradient[index]) - numeric) > tolerance * max(1, abs(numeric)) {
            Issue.record("\(label), seed \(seed), input \(which)[\(index)]: gradient \(gradient[index]), by differences \(numeric)")
            return
          }
        }
      }
    }

    @Test func elementwise() throws {
      try check([[2, 3], [3]], tolerance: 1e-5, "arithmetic") { try $0[0].add($0[1]).mul($0[0]).div($0[1]).sub($0[1]) }
      try check([[6]], tolerance: 1e-4, "functions") { try $0[0].exp().log().sqrt().tanh().square().abs() }
      try check([[6]], tolerance: 1e-5, "silu") { try $0[0].silu() }
      try check([[6]], tolerance: 2e-4, "others") {
        try $0[0].sigmoid().add($0[0].gelu()).add($0[0].rsqrt()).add($0[0].sin()).add($0[0].cos())
      }
      try check([[6]], "clamp") { try $0[0].clamp(min: 0.1, max: 3).pow(2).neg() }
    }

    @Test func shapes() throws {
      try check([[2, 3], [2, 1]], "cat, narrow") { try Tensor.cat($0, dim: 1).narrow(dim: 1, start: 1, length: 3) }
      try check([[2, 4]], "chunk") {
        let parts = try $0[0].chunk(2, dim: 1)
        return try parts[0].mul(parts[1])
      }
      try check([[2, 3, 2]], "permute") { try $0[0].permute([2, 0, 1]).reshape([4, 3]).transpose(0, 1).contiguous() }
      try check([[3, 2]], "select") { try $0[0].indexSelect(dim: 0, Tensor([2, 2, 0] as [Int64], shape: [3])) }
      try check([[3, 2]], "means") { try $0[0].mean(dims: [1], keepDims: true).mul($0[0]).sum(dims: [0]) }
      try check([[2, 2]], "stack") { try Tensor.stack([$0[0], $0[0].flip(dim: 0)], dim: 1) }
    }

    @Test func layers() throws {
      try check([[2, 3], [4, 3], [4]], "linear") { try $0[0].linear($0[1], $0[2]) }
      try check([[2, 2, 4, 4], [3, 2, 3, 3], [3]], "conv2d") { try $0[0].conv2d($0[1], $0[2], stride: 1, padding: 1) }
      try check([[1, 2, 5, 5], [3, 2, 3, 3]], "strided conv2d") { try $0[0].conv2d($0[1], stride: 2, padding: 1) }
      try check([[1, 2, 4, 4], [3, 2, 3, 3]], "channels-last conv2d") {
        try $0[0].channelsLast().conv2d($0[1].channelsLast(), stride: 1, padding: 1)
      }
      try check([[2, 4, 2, 2], [4], [4]], tolerance: 2e-4, "groupNorm") {
        try $0[0].groupNorm(groups: 2, weight: $0[1], bias: $0[2], eps: 1e-2)
      }
      try check([[1, 2, 2, 2]], "upsampleNearest2x") { try $0[0].upsampleNearest2x() }
      try check([[1, 2, 4, 4]], "avgPool2x2") { try $0[0].avgPool2x2() }
      try check([[1, 1, 2, 2]], "upsampleBilinear") { try $0[0].upsampleBilinear(height: 5, width: 3) }
      try check([[4, 3]], "embedding") { try Tensor.embedding(weight: $0[0], indices: Tensor([1, 1, 3] as [Int64], shape: [3])) }
      try check([[2, 3]], tolerance: 1e-5, "softmax") { try $0[0].softmax(dim: -1) }
    }

    @Test func attention() throws {
      try check([[2, 3, 4], [2, 3, 4], [2, 3, 4]], tolerance: 1e-5) { inputs in
        let (q, k, v) = (inputs[0], inputs[1], inputs[2])
        return try q.transpose(1, 2).bmm(k).mul(0.5).softmax(dim: -1).bmm(v.transpose(1, 2))
      }
    }

    @Test func dropoutScalesItsGradient() throws {
      try Torch.manualSeed(21)
      let x = try Tensor.ones(shape: [100]).requiresGrad(true)
      let y = try x.dropout(0.5, training: true)
      try y.sum().backward()
      #expect(try x.grad?.floats() == y.floats())
    }

    /// bf16 compute with f32 masters: the gradient comes back through `to` in f32.
    @Test func castWeightsKeepTheirMasters() throws {
      var numbers = SeededNumbers(seed: 22)
      let weight = try numbers.tensor([4, 3, 3, 3]).requiresGrad(true)
      let x = try numbers.tensor([2, 3, 6, 6]).to(.bf16).channelsLast()
      let y = try x.conv2d(weight.to(.bf16), padding: 1)
      #expect(try y.dtype == .bf16)
      try y.to(.f32).square().mean().backward()
      let gradient = try #require(try weight.grad)
      #expect(try gradient.dtype == .f32)
      #expect(gradient.strides == weight.strides)
      let exact = try weight.detach().clone().requiresGrad(true)
      try x.to(.f32).conv2d(exact, padding: 1).square().mean().backward()
      try expectClose(gradient, try #require(try exact.grad).floats(), within: 0.02)
    }

    @Test func autocastTrainsInHalfPrecision() throws {
      var numbers = SeededNumbers(seed: 23)
      let weight = try numbers.tensor([4, 3, 3, 3]).requiresGrad(true)
      let x = try numbers.tensor([2, 3, 6, 6])
      let loss = try Torch.autocast(.bf16) {
        let y = try x.conv2d(weight, padding: 1)
        #expect(try y.dtype == .bf16)
        return try y.to(.f32).square().mean()
      }
      try loss.backward()
      #expect(try weight.grad?.dtype == .f32)
    }

    @Test func gradientsAccumulateUntilCleared() throws {
      let x = try Tensor([3] as [Float], shape: [1]).requiresGrad(true)
      #expect(x.requiresGrad)
      #expect(try x.grad == nil)
      try x.square().backward()
      try x.square().backward()
      #expect(try x.grad?.floats() == [12])
      try x.clearGrad()
      #expect(try x.grad == nil)
      #expect(try !x.detach().requiresGrad)
    }

    @Test func inPlaceUpdates() throws {
      let x = try Tensor([1, 2] as [Float], shape: [2])
      let y = try Tensor([5, 10] as [Float], shape: [2])
      try x.lerp_(y, weight: 0.25)
      #expect(try x.floats() == [2, 4])
      try x.add_(y, factor: 2)
      #expect(try x.floats() == [12, 24])
      try x.mul_(0.5)
      #expect(try x.floats() == [6, 12])
      try x.copy_(y.to(.bf16))
      #expect(try x.floats() == [5, 10])
      try x.zero_()
      #expect(try x.floats() == [0, 0])
      try Tensor.lerp_([], [], weight: 0.5)
      #expect(throws: TorchError.self) { try Tensor.lerp_([x], [], weight: 0.5) }
      let leaf = try y.clone().requiresGrad(true)
      #expect(throws: TorchError.self) { try leaf.zero_() }
      try Torch.withoutGradients { () throws(TorchError) in try leaf.zero_() }
      #expect(try leaf.floats() == [0, 0])
    }

    @Test func clipping() throws {
      let a = try Tensor([0, 0] as [Float], shape: [2]).requiresGrad(true)
      let b = try Tensor([0] as [Float], shape: [1]).requiresGrad(true)
      #expect(try Tensor.clipGradNorm([a, b], max: 1) == 0)
      func backward() throws {
        try a.mul(Tensor([3, 4] as [Float], shape: [2])).sum().add(b.mul(12).sum()).backward()
      }
      try backward()
      #expect(try Tensor.clipGradNorm([a, b], max: 20) == 13)
      try expectClose(try #require(try a.grad), [3, 4])
      #expect(try Tensor.clipGradNorm([a, b], max: 6.5) == 13)
      try expectClose(try #require(try a.grad), [1.5, 2], within: 1e-5)
      try expectClose(try #require(try b.grad), [6], within: 1e-5)
    }
  }
}
