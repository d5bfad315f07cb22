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

    /// Output and gradients of our kernels for training against LibTorch's in float64.
    func compare(
      _ shapes: [[Int]], seed: UInt64, within tolerance: Double, ours: ([Tensor]) throws -> Tensor, exact: ([Tensor]) throws -> Tensor
    ) throws {
      var numbers = SeededNumbers(seed: seed)
      let values = try shapes.map { try numbers.tensor($0) }
      let mine = try values.map { try ($0.shape.count == 4 ? $0.channelsLast() : $0.clone()).requiresGrad(true) }
      let theirs = try values.map { try $0.to(.f64).requiresGrad(true) }
      let (y, expected) = (try ours(mine), try exact(theirs))
      let weights = try numbers.tensor(y.shape)
      try y.mul(weights).sum().backward()
      try expected.mul(weights.to(.f64)).sum().backward()
      func compare(_ name: String, _ actual: Tensor?, _ exact: Tensor?) throws {
        let exact = try #require(exact).floats()
        let actual = try #require(actual, "seed \(seed): \(name) is missing").contiguous().floats()
        let scale = exact.map { abs(Double($0)) }.max() ?? 1
        let error = zip(actual, exact).map { abs(Double($0) - Double($1)) }.max() ?? .infinity
        #expect(actual.count == exact.count && error <= tolerance * max(scale, 1), "seed \(seed), \(name): off by \(error) of \(scale)")
      }
      try compare("output", y.detach(), expected.detach())
      for (index, pair) in zip(mine, theirs).enumerated() { try compare("gradient \(index)", pair.0.grad, pair.1.grad) }
    }

    /// Images that tiles of 4x4 fill and that they don't.
    @Test(arguments: [(16, 16, 8, 8), (32, 16, 6, 13), (48, 64, 1, 3), (16, 32, 33, 70)])
    func trainedConvolution(_ channels: Int, _ outputs: Int, _ height: Int, _ width: Int) throws {
      try compare(
        [[3, channels, height, width], [outputs, channels, 3, 3], [outputs]], seed: UInt64(channels + outputs + height), within: 1e-5,
        ours: { try $0[0].trainedConv2d($0[1], $0[2]) }, exact: { try $0[0].conv2d($0[1], $0[2], padding: 1) })
    }

    @Test(arguments: [(32, 4, 5, true), (64, 16, 16, false), (96, 33, 21, true)])
    func trainedGroupNorm(_ channels: Int, _ height: Int, _ width: Int, _ silu: Bool) throws {
      let shapes = [[2, channels, height, width], [channels], [channels], [2, channels], [2, channels]]
      for modulated in [true, false] {
        try compare(
          modulated ? shapes : Array(shapes.prefix(3)), seed: UInt64(channels), within: 2e-5,
          ours: {
            try $0[0].trainedGroupNorm(
              groups: 32, weight: $0[1], bias: $0[2], scale: modulated ? $0[3] : nil, shift: modulated ? $0[4] : nil, silu: silu)
          },
          exact: {
            var y = try $0[0].groupNorm(groups: 32, weight: $0[1], bias: $0[2])
            let sizes = [2, channels, 1, 1]
            if modulated { y = try y.mul($0[3].add(1).reshape(sizes)).add($0[4].reshape(sizes)) }
            return silu ? try y.silu() : y
          })
      }
    }

    /// The same bytes on any number of threads, so that a training run is the same everywhere.
    @Test func trainedKernelsDoNotDependOnThreads() async {
      await #expect(processExitsWith: .success) {
        func gradients(threads: Int) throws -> [[UInt8]] {
          try Torch.setThreads(threads)
          var numbers = SeededNumbers(seed: 24)
          let x = try numbers.tensor([2, 32, 37, 18]).channelsLast().requiresGrad(true)
          let kernel = try numbers.tensor([48, 32, 3, 3]).requiresGrad(true)
          let bias = try numbers.tensor([48]).requiresGrad(true)
          let affine = try (0..<2).map { _ in try numbers.tensor([32]).requiresGrad(true) }
          let y = try x.trainedGroupNorm(groups: 32, weight: affine[0], bias: affine[1], silu: true).trainedConv2d(kernel, bias)
          try y.square().mean().backward()
          return try [y.detach()].map { try $0.contiguous().bytes() }
            + ([x, kernel, bias] + affine).map { try #require(try $0.grad).contiguous().bytes() }
        }
        let alone = try gradients(threads: 1)
        for threads in [2, 3, 5] {
          let differing = try zip(gradients(threads: threads), alone).map { $0 != $1 }
          #expect(
            !differing.contains(true), "\(threads) threads: of y and the gradients of x, kernel, bias, weight, offset differ \(differing)")
        }
      }
    }

    @Test func trainedKernelsNameWhatTheyCannotTake() throws {
      let bias = try Tensor.zeros(shape: [16])
      #expect(throws: TorchError.self) { try Tensor.zeros(shape: [1, 8, 4, 4]).trainedConv2d(.zeros(shape: [16, 8, 3, 3]), bias) }
      #expect(throws: TorchError.self) { try Tensor.zeros(shape: [1, 32, 4, 4]).trainedConv2d(.zeros(shape: [16, 16, 3, 3]), bias) }
      let eight = try Tensor.zeros(shape: [8])
      #expect(throws: TorchError.self) {
        try Tensor.zeros(shape: [1, 8, 4, 4]).trainedGroupNorm(groups: 4, weight: eight, bias: eight, silu: true)
      }
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
