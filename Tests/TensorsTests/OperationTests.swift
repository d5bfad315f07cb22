import Foundation
import Tensors
import Testing

extension TensorsTests {
  @Suite struct Operations {
    let a: Tensor
    let b: Tensor

    init() throws {
      a = try Tensor([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3])
      b = try Tensor([2, 0.5, -1] as [Float], shape: [3])
    }

    @Test func construction() throws {
      #expect(a.shape == [2, 3])
      #expect(a.strides == [3, 1])
      #expect(a.count == 6)
      #expect(try a.dtype == .f32)
      #expect(try a.device == .cpu)
      #expect(try a.floats() == [1, 2, 3, 4, 5, 6])
      #expect(try Tensor([7, -8] as [Int64], shape: [2]).integers() == [7, -8])
      #expect(try Tensor([7, 8] as [UInt8], shape: [2, 1]).floats() == [7, 8])
      #expect(try Tensor.zeros(shape: [2]).floats() == [0, 0])
      #expect(try Tensor.ones(shape: [2], dtype: .bf16).dtype == .bf16)
      #expect(try Tensor.full(2.5, shape: []).item() == 2.5)
      #expect(try Tensor([] as [Float], shape: [0, 4]).floats() == [])
      #expect(try Tensor.zeros(shape: [1, 2, 2, 2]).channelsLast().zerosLike().strides == [8, 1, 4, 2])
    }

    @Test func randomNumbersFollowTheirSeed() throws {
      let x = try Tensor.randn(shape: [10_000], seed: 5).floats()
      #expect(try x == Tensor.randn(shape: [10_000], seed: 5).floats())
      #expect(try x != Tensor.randn(shape: [10_000], seed: 6).floats())
      let mean = x.reduce(0, +) / 10_000
      let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 10_000
      #expect(abs(mean) < 0.04)
      #expect(abs(variance - 1) < 0.06)
    }

    @Test func arithmetic() throws {
      try expectClose(a.add(b), [3, 2.5, 2, 6, 5.5, 5])
      try expectClose(a.sub(b), [-1, 1.5, 4, 2, 4.5, 7])
      try expectClose(a.mul(b), [2, 1, -3, 8, 2.5, -6])
      try expectClose(a.div(b), [0.5, 4, -3, 2, 10, -6])
      try expectClose(a.add(1), [2, 3, 4, 5, 6, 7])
      try expectClose(a.sub(1), [0, 1, 2, 3, 4, 5])
      try expectClose(a.mul(-2), [-2, -4, -6, -8, -10, -12])
      try expectClose(a.div(2), [0.5, 1, 1.5, 2, 2.5, 3])
      try expectClose(a.maximum(b), [2, 2, 3, 4, 5, 6])
      try expectClose(a.minimum(b), [1, 0.5, -1, 2, 0.5, -1])
      try expectClose(a.clamp(min: 2, max: 5), [2, 2, 3, 4, 5, 5])
      try expectClose(a.pow(2), [1, 4, 9, 16, 25, 36])
    }

    @Test func functions() throws {
      let values: [Float] = [0.25, 1, 2.5]
      let x = try Tensor(values, shape: [3])
      func expect(_ tensor: Tensor, _ function: (Float) -> Float, _ name: String) throws {
        try expectClose(tensor, values.map(function), within: 2e-6, name)
      }
      try expect(x.neg(), { -$0 }, "neg")
      try expect(x.exp(), { exp($0) }, "exp")
      try expect(x.log(), { log($0) }, "log")
      try expect(x.sqrt(), { sqrt($0) }, "sqrt")
      try expect(x.rsqrt(), { 1 / sqrt($0) }, "rsqrt")
      try expect(x.tanh(), { tanh($0) }, "tanh")
      try expect(x.sigmoid(), { 1 / (1 + exp(-$0)) }, "sigmoid")
      try expect(x.silu(), { $0 / (1 + exp(-$0)) }, "silu")
      try expect(x.gelu(), { 0.5 * $0 * (1 + erf($0 / sqrt(2))) }, "gelu")
      try expect(x.square(), { $0 * $0 }, "square")
      try expect(x.sin(), { sin($0) }, "sin")
      try expect(x.cos(), { cos($0) }, "cos")
      try expectClose(b.relu(), [2, 0.5, 0])
      try expectClose(b.abs(), [2, 0.5, 1])
    }

    @Test func reductions() throws {
      #expect(try a.sum().item() == 21)
      #expect(try a.mean().item() == 3.5)
      try expectClose(a.sum(dims: [0]), [5, 7, 9])
      #expect(try a.mean(dims: [-1], keepDims: true).shape == [2, 1])
      try expectClose(a.mean(dims: [1]), [2, 5])
      #expect(try b.argmax(dim: 0).integers() == [0])
      let e: [Float] = [7.389056, 1.6487213, 0.36787945]  // exp of b
      try expectClose(b.softmax(dim: 0), e.map { $0 / (e[0] + e[1] + e[2]) })
      #expect(try a.isFinite())
      #expect(try !a.div(0).isFinite())
    }

    @Test func products() throws {
      let m = try Tensor([1, 0, 2, 1, 0, 3] as [Float], shape: [3, 2])
      try expectClose(a.matmul(m), [5, 11, 14, 23])
      try expectClose(a.unsqueeze(dim: 0).bmm(m.unsqueeze(dim: 0)), [5, 11, 14, 23])
      try expectClose(
        a.linear(Tensor([1, 1, 1, 0, 1, 0] as [Float], shape: [2, 3]), Tensor([10, 20] as [Float], shape: [2])), [16, 22, 25, 25])
      try expectClose(a.linear(Tensor([1, 1, 1] as [Float], shape: [1, 3])), [6, 15])
    }

    @Test func views() throws {
      try expectClose(a.transpose(0, 1), [1, 4, 2, 5, 3, 6])
      try expectClose(a.permute([1, 0]), [1, 4, 2, 5, 3, 6])
      #expect(try a.reshape([3, -1]).shape == [3, 2])
      try expectClose(a.narrow(dim: 1, start: 1, length: 2), [2, 3, 5, 6])
      try expectClose(b.unsqueeze(dim: 0).expand([2, -1]), [2, 0.5, -1, 2, 0.5, -1])
      #expect(try a.unsqueeze(dim: 1).squeeze(dim: 1).shape == [2, 3])
      try expectClose(a.flip(dim: 1), [3, 2, 1, 6, 5, 4])
      let parts = try a.chunk(3, dim: -1)
      #expect(parts.map(\.shape) == [[2, 1], [2, 1], [2, 1]])
      try expectClose(parts[2], [3, 6])
      try expectClose(Tensor.cat([a, a.narrow(dim: 0, start: 0, length: 1)], dim: 0), [1, 2, 3, 4, 5, 6, 1, 2, 3])
      #expect(try Tensor.stack([b, b], dim: 1).shape == [3, 2])
      try expectClose(a.indexSelect(dim: 1, Tensor([2, 0] as [Int64], shape: [2])), [3, 1, 6, 4])
      let copy = try a.clone()
      try copy.zero_()
      #expect(try a.sum().item() == 21)
    }

    @Test func layouts() throws {
      let x = try Tensor((0..<24).map(Float.init), shape: [1, 2, 3, 4])
      let y = try x.channelsLast()
      #expect(x.isContiguous && !x.isChannelsLast)
      #expect(y.isChannelsLast && !y.isContiguous)
      #expect(y.strides == [24, 1, 8, 2])
      #expect(try y.floats() == x.floats())
      #expect(try y.contiguous().strides == x.strides)
    }

    /// Round to nearest, ties to even: 1 + 2^-8 is a tie and goes down, 1 + 3 * 2^-8 is one and goes up.
    @Test func conversions() throws {
      let x = try Tensor([1 + 0x1p-8, 1 + 3 * 0x1p-8, -2.75] as [Float], shape: [3])
      #expect(try x.to(.bf16).floats() == [1, 1 + 0x1p-6, -2.75])
      #expect(try x.to(.f16).dtype == .f16)
      #expect(try x.to(.i64).integers() == [1, 1, -2])
      #expect(try x.to(.f64).to(.f32).floats() == x.floats())
      #expect(try x.to(.bool).floats() == [1, 1, 1])
      #expect(try x.to(Device.cpu).floats() == x.floats())
      #expect(try x.narrow(dim: 0, start: 0, length: 1).to(.bf16).bytes() == [0x80, 0x3F])
    }

    @Test func embedding() throws {
      let rows = try Tensor.embedding(weight: a, indices: Tensor([1, 0, 1] as [Int64], shape: [3]))
      try expectClose(rows, [4, 5, 6, 1, 2, 3, 4, 5, 6])
    }

    @Test func resampling() throws {
      let x = try Tensor([1, 2, 3, 4] as [Float], shape: [1, 1, 2, 2])
      try expectClose(x.upsampleNearest2x(), [1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4])
      try expectClose(x.upsampleNearest2x().avgPool2x2(), [1, 2, 3, 4])
      try expectClose(x.avgPool2x2(), [2.5])
      // Half-pixel centres: row weights are 1, 3/4, 1/4, 0 of the first row.
      let line: (Float, Float) -> [Float] = { a, b in [a, 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b, b] }
      try expectClose(
        x.upsampleBilinear(height: 4, width: 4), line(1, 3).indices.flatMap { line(line(1, 3)[$0], line(2, 4)[$0]) })
    }

    @Test(arguments: [(1, 0), (1, 1), (2, 1)]) func convolution(stride: Int, padding: Int) throws {
      var numbers = SeededNumbers(seed: 1)
      let x = numbers.floats(2 * 3 * 5 * 6)
      let w = numbers.floats(4 * 3 * 3 * 3)
      let bias = numbers.floats(4)
      let height = (5 + 2 * padding - 3) / stride + 1
      let width = (6 + 2 * padding - 3) / stride + 1
      var expected: [Float] = []
      for n in 0..<2 {
        for o in 0..<4 {
          for i in 0..<height {
            for j in 0..<width {
              var sum = Double(bias[o])
              for c in 0..<3 {
                for u in 0..<3 {
                  for v in 0..<3 {
                    let (row, column) = (i * stride - padding + u, j * stride - padding + v)
                    guard (0..<5).contains(row), (0..<6).contains(column) else { continue }
                    sum += Double(x[((n * 3 + c) * 5 + row) * 6 + column]) * Double(w[((o * 3 + c) * 3 + u) * 3 + v])
                  }
                }
              }
              expected.append(Float(sum))
            }
          }
        }
      }
      let input = try Tensor(x, shape: [2, 3, 5, 6])
      let weight = try Tensor(w, shape: [4, 3, 3, 3])
      let offset = try Tensor(bias, shape: [4])
      let y = try input.conv2d(weight, offset, stride: stride, padding: padding)
      #expect(y.shape == [2, 4, height, width])
      try expectClose(y, expected, within: 1e-5, "conv2d")
      try expectClose(
        input.channelsLast().conv2d(weight.channelsLast(), offset, stride: stride, padding: padding), expected, within: 1e-5,
        "channels-last")

      // Packed for another batch than it meets.
      let packed = try PackedConvolutionWeight(weight, stride: stride, padding: padding, input: [1, 3, 5, 6])
      let residual = try numbers.tensor([2, 4, height, width]).channelsLast()
      let fused = try input.channelsLast().conv2dPacked(weight: packed, bias: offset, activation: .silu)
      try expectClose(fused, y.silu().floats(), within: 1e-5, "fused silu")
      let added = try input.channelsLast().conv2dPacked(weight: packed, bias: offset, residual: residual)
      try expectClose(added, y.add(residual).floats(), within: 1e-5, "fused add")
    }

    /// Against PyTorch's in float64: images that tiles of 4x4 fill and that they don't, alone and several, with every part there is.
    @Test(arguments: [
      (16, 16, 8, 8), (32, 16, 6, 13), (48, 64, 1, 3), (16, 32, 33, 4), (3, 32, 9, 10), (32, 3, 12, 7), (7, 21, 5, 5), (128, 112, 10, 9),
    ])
    func winogradConvolution(_ channels: Int, _ outputs: Int, _ height: Int, _ width: Int) throws {
      var numbers = SeededNumbers(seed: UInt64(channels + outputs + height + width))
      let x = try numbers.tensor([5, channels, height, width]).channelsLast()
      let kernel = try numbers.tensor([outputs, channels, 3, 3]).mul(0.1)
      let bias = try numbers.tensor([outputs])
      let residual = try numbers.tensor([5, outputs, height, width])
      let weight = try WinogradConvolutionWeight(kernel)
      let exact = try x.to(.f64).conv2d(kernel.to(.f64), bias.to(.f64), padding: 1).add(residual.to(.f64)).to(.f32)
      let y = try x.conv2dWinograd(weight: weight, bias: bias, residual: residual)
      try expectClose(y, exact.floats(), within: 2e-5, "all")
      let plain = try x.conv2dWinograd(weight: weight)
      try expectClose(plain, x.conv2d(kernel, padding: 1).floats(), within: 2e-5, "without bias and residual")
      try expectSameBytes(x) { try $0.conv2dWinograd(weight: weight) }

      try expectRounded(kernel, x, bias, residual, padding: 1, within: 0.012) { kernel, x, bias, residual throws(TorchError) in
        try x.conv2dWinograd(weight: WinogradConvolutionWeight(kernel), bias: bias, residual: residual)
      }
    }

    /// In bf16: against PyTorch's in float64 of the same rounded numbers, by the root mean square of all; and the same bytes in any batch.
    func expectRounded(
      _ kernel: Tensor, _ x: Tensor, _ bias: Tensor, _ residual: Tensor, padding: Int, within tolerance: Float,
      sourceLocation: SourceLocation = #_sourceLocation,
      _ convolve: (_ kernel: Tensor, _ x: Tensor, _ bias: Tensor?, _ residual: Tensor?) throws -> Tensor
    ) throws {
      let (kernel, x, bias, residual) = (try kernel.to(.bf16), try x.to(.bf16), try bias.to(.bf16), try residual.to(.bf16))
      let y = try convolve(kernel, x, bias, residual)
      let exact = try x.to(.f64).conv2d(kernel.to(.f64), bias.to(.f64), padding: padding).add(residual.to(.f64))
      func meanSquare(_ tensor: Tensor) throws -> Float {
        let numbers = try tensor.to(.f32).floats()
        return numbers.reduce(0) { $0 + $1 * $1 } / Float(numbers.count)
      }
      let error = try (meanSquare(y.to(.f64).sub(exact)) / meanSquare(exact)).squareRoot()
      #expect(try y.dtype == .bf16, sourceLocation: sourceLocation)
      #expect(error < tolerance, "in bf16", sourceLocation: sourceLocation)
      try expectSameBytes(x, sourceLocation: sourceLocation) { try convolve(kernel, $0, nil, nil) }
    }

    /// A sample's bytes are the same alone and among any others, on any number of threads.
    func expectSameBytes(_ x: Tensor, sourceLocation: SourceLocation = #_sourceLocation, _ body: (Tensor) throws -> Tensor) throws {
      let samples = x.shape[0]
      func run(_ first: Int, _ count: Int, threads: Int) throws -> [[UInt8]] {
        let y = try Torch.onOneThread(kernelThreads: threads) { try body(x.narrow(dim: 0, start: first, length: count)) }
        return try (0..<count).map { try y.narrow(dim: 0, start: $0, length: 1).contiguous().bytes() }
      }
      let alone = try (0..<samples).map { try run($0, 1, threads: 1)[0] }
      #expect(Set(alone).count == samples, "the samples should differ", sourceLocation: sourceLocation)
      for threads in [1, 2, 3, 5] {
        for first in 0..<samples {
          for count in 1...samples - first {
            let bytes = try run(first, count, threads: threads)
            #expect(
              bytes == Array(alone[first..<first + count]), "samples \(first) to \(first + count - 1), \(threads) threads",
              sourceLocation: sourceLocation)
          }
        }
      }
    }

    /// Against its definition in float64, in both orders of channels: images that whole vectors of pixels fill and that they don't.
    @Test(arguments: [(1, 16, 8, 8), (2, 32, 3, 5), (3, 16, 1, 1), (2, 48, 16, 17)], [false, true])
    func attention(_ size: (heads: Int, width: Int, height: Int, across: Int), newOrder: Bool) throws {
      let (heads, width, pixels) = (size.heads, size.width, size.height * size.across)
      var numbers = SeededNumbers(seed: UInt64(heads + width + pixels))
      let qkv = try numbers.tensor([5, 3 * heads * width, size.height, size.across], -3, 3).channelsLast()
      let shape = newOrder ? [5, 3, heads, width, pixels] : [5, heads, 3, width, pixels]
      let split = try qkv.to(.f64).contiguous().reshape(shape).permute(newOrder ? [1, 0, 2, 4, 3] : [2, 0, 1, 4, 3])
      func part(_ index: Int) throws -> Tensor { try split.narrow(dim: 0, start: index, length: 1).reshape([5 * heads, pixels, width]) }
      let weights = try part(0).bmm(part(1).transpose(1, 2)).mul(1 / Double(width).squareRoot()).softmax(dim: -1)
      let exact = try weights.bmm(part(2)).transpose(1, 2).reshape([5, heads * width, size.height, size.across]).to(.f32)
      try expectClose(qkv.attention(heads: heads, newOrder: newOrder), exact.floats(), within: 2e-5)
      try expectSameBytes(qkv) { try $0.attention(heads: heads, newOrder: newOrder) }
      let rounded = try qkv.to(.bf16)
      #expect(
        try rounded.attention(heads: heads, newOrder: newOrder).bytes()
          == rounded.to(.f32).attention(heads: heads, newOrder: newOrder).to(.bf16).bytes())
    }

    /// Against LibTorch's own, exactly: small, and large enough for several threads.
    @Test(arguments: [(16, 2, 6), (48, 10, 4), (64, 128, 96)])
    func resampling(_ channels: Int, _ height: Int, _ width: Int) throws {
      var numbers = SeededNumbers(seed: UInt64(channels + height + width))
      let x = try numbers.tensor([3, channels, height, width]).channelsLast()
      let other = try numbers.tensor([3, 32, height, width])
      #expect(try x.enlarged2x().contiguous().bytes() == x.upsampleNearest2x().contiguous().bytes())
      try expectClose(x.shrunk2x(), x.avgPool2x2().floats(), within: 1e-7)
      #expect(try x.joinedChannels(other).contiguous().bytes() == Tensor.cat([x, other], dim: 1).contiguous().bytes())
      let (narrow, second) = (try x.to(.bf16), try other.to(.bf16))
      #expect(try narrow.enlarged2x().contiguous().bytes() == narrow.upsampleNearest2x().contiguous().bytes())
      #expect(try narrow.shrunk2x().contiguous().bytes() == narrow.to(.f32).shrunk2x().to(.bf16).contiguous().bytes())
      #expect(try narrow.joinedChannels(second).contiguous().bytes() == Tensor.cat([narrow, second], dim: 1).contiguous().bytes())
      #expect(throws: TorchError.self) { _ = try narrow.joinedChannels(other) }
      try expectSameBytes(x) { try $0.enlarged2x() }
      try expectSameBytes(x) { try $0.shrunk2x() }
      try expectSameBytes(x) { try $0.joinedChannels($0) }
      #expect(throws: TorchError.self) { _ = try x.joinedChannels(.zeros(shape: [2, 16, height, width])) }
      #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: [1, 16, 3, 4]).shrunk2x() }
      #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: [1, 8, 4, 4]).enlarged2x() }
    }

    @Test func attentionNamesWhatItCannotTake() throws {
      #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: [1, 48, 4, 4]).attention(heads: 2, newOrder: false) }
      #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: [48, 4, 4]).attention(heads: 1, newOrder: false) }
      #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: [1, 48, 4, 4]).to(.f64).attention(heads: 1, newOrder: false) }
      #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: [1, 48, 4, 4]).attention(heads: 0, newOrder: false) }
    }

    /// The same for 1x1 filters.
    @Test(arguments: [(16, 16, 8, 8), (32, 16, 6, 13), (48, 64, 1, 3), (192, 128, 7, 31), (128, 4096, 1, 1)])
    func pointwiseConvolution(_ channels: Int, _ outputs: Int, _ height: Int, _ width: Int) throws {
      var numbers = SeededNumbers(seed: UInt64(channels + outputs + height + width))
      let x = try numbers.tensor([3, channels, height, width]).channelsLast()
      let kernel = try numbers.tensor([outputs, channels, 1, 1]).mul(0.1)
      let bias = try numbers.tensor([outputs])
      let residual = try numbers.tensor([3, outputs, height, width])
      let weight = try PointwiseConvolutionWeight(kernel)
      let exact = try x.to(.f64).conv2d(kernel.to(.f64), bias.to(.f64)).add(residual.to(.f64)).to(.f32)
      try expectClose(x.conv2dPointwise(weight: weight, bias: bias, residual: residual), exact.floats(), within: 1e-5, "all")
      let plain = try x.conv2dPointwise(weight: weight)
      try expectClose(plain, x.conv2d(kernel).floats(), within: 1e-5, "without bias and residual")
      try expectSameBytes(x) { try $0.conv2dPointwise(weight: weight) }
      try expectRounded(kernel, x, bias, residual, padding: 0, within: 0.004) { kernel, x, bias, residual throws(TorchError) in
        try x.conv2dPointwise(weight: PointwiseConvolutionWeight(kernel), bias: bias, residual: residual)
      }
      #expect(throws: TorchError.self) { _ = try PointwiseConvolutionWeight(.zeros(shape: [16, 8, 1, 1])) }
      #expect(throws: TorchError.self) { _ = try PointwiseConvolutionWeight(.zeros(shape: [16, 16, 3, 3])) }
      #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: [1, 8, 4, 4]).conv2dPointwise(weight: weight) }
    }

    @Test func winogradNamesWhatItCannotTake() throws {
      #expect(throws: TorchError.self) { _ = try WinogradConvolutionWeight(.zeros(shape: [16, 16, 1, 1])) }
      let weight = try WinogradConvolutionWeight(.zeros(shape: [16, 16, 3, 3]))
      for wrong in [[1, 32, 4, 4], [16, 4, 4]] {
        #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: wrong).conv2dWinograd(weight: weight) }
      }
      #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: [1, 16, 4, 4]).to(.f64).conv2dWinograd(weight: weight) }
      let narrow = try WinogradConvolutionWeight(.zeros(shape: [16, 16, 3, 3]).to(.bf16))
      #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: [1, 16, 4, 4]).conv2dWinograd(weight: narrow) }
      #expect(throws: TorchError.self) { _ = try Tensor.zeros(shape: [1, 16, 4, 4]).to(.bf16).conv2dWinograd(weight: weight) }
    }

    /// Against the definition in float64.
    @Test func groupNorm() throws {
      var numbers = SeededNumbers(seed: 2)
      let x = try numbers.tensor([2, 6, 3, 2], -3, 5)
      let weight = numbers.floats(6)
      let bias = numbers.floats(6)
      let y = try x.groupNorm(groups: 3, weight: Tensor(weight, shape: [6]), bias: Tensor(bias, shape: [6]), eps: 1e-5)
      try expectClose(
        y, GroupNormReference(groups: 3, weight: weight, bias: bias).apply(x.floats(), shape: [2, 6, 6]), within: 1e-5)
    }

    @Test func dropout() throws {
      try Torch.manualSeed(3)
      let x = try Tensor.ones(shape: [10_000])
      let y = try x.dropout(0.25, training: true).floats()
      #expect(Set(y).count == 2 && y.allSatisfy { $0 == 0 || abs($0 - 4 / 3) < 1e-6 })
      #expect(abs(Double(y.count { $0 == 0 }) / 10_000 - 0.25) < 0.02)
      #expect(try x.dropout(0.25, training: false).floats() == x.floats())
    }

    @Test func library() {
      #expect(Torch.version.hasPrefix("2."))
      #expect(!Torch.cpuCapability.isEmpty)
    }

    @Test func threads() async {
      await #expect(processExitsWith: .success) {
        for count in [1, 2] {
          try Torch.setThreads(count)
          #expect(Torch.threads == count)
        }
        #expect(throws: TorchError.self) { try Torch.setThreads(0) }
        #expect(Torch.threads == 2)
      }
    }

    @Test func errorsSayWhatWasWrong() throws {
      func message(_ body: () throws -> Void) -> String {
        do {
          try body()
          return "no error"
        } catch let error as TorchError {
          return error.description
        } catch {
          return "wrong type: \(error)"
        }
      }
      #expect(message { _ = try Tensor([1] as [Float], shape: [2]) }.contains("takes 8 bytes, 4 were given"))
      #expect(message { _ = try Tensor.zeros(shape: [-1]) }.contains("must not be negative"))
      #expect(message { _ = try Tensor.zeros(shape: [.max, .max]) }.contains("too large"))
      #expect(message { _ = try Tensor.zeros(shape: [1], device: Device("gpu7")) }.hasPrefix("full: "))
      #expect(message { _ = try Tensor.zeros(shape: [1], device: Device("meta")) }.contains("'meta' is not 'cpu'"))
      if !Torch.isCUDAAvailable {
        #expect(message { _ = try a.to(Device("cuda:0")) }.contains("there is no CUDA here"))
      }
      #expect(message { _ = try a.matmul(a) }.hasPrefix("matmul: "))
      #expect(message { _ = try a.bmm(a) }.hasPrefix("bmm: "))
      #expect(message { _ = try a.chunk(2, dim: 1) }.contains("no 2 equal parts"))
      #expect(message { _ = try a.item() }.hasPrefix("item: "))
      #expect(message { _ = try a.backward() }.hasPrefix("backward: "))
      #expect(message { _ = try a.narrow(dim: 0, start: 1, length: 5) }.hasPrefix("narrow: "))
      #expect(message { _ = try a.upsampleNearest2x() }.contains("(N, C, H, W)"))
      #expect(!message { _ = try a.matmul(a) }.contains("frame #"))
    }

    @Test func nothingLeaks() async {
      await #expect(processExitsWith: .success) {
        #expect(Torch.liveHandles == 0)
        for _ in 0..<10 {
          let x = try Tensor([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3]).requiresGrad(true)
          try Torch.autocast(.bf16) { try x.mul(x).sum() }.backward()
          _ = try x.grad
          _ = try x.chunk(3, dim: 1)
          _ = try Torch.withoutGradients { () throws(TorchError) in try x.square() }
          _ = try Torch.inferenceMode { () throws(TorchError) in try x.square() }
          _ = try Torch.peakMemory { () throws(TorchError) in try x.square() }
          #expect(Torch.liveHandles == 1)
          #expect(throws: TorchError.self) { try x.matmul(x) }
          #expect(throws: TorchError.self) { try Tensor.cat([x, x.reshape([6])], dim: 0) }
          #expect(throws: TorchError.self) { try Tensor([1] as [Float], shape: [3]) }
          #expect(throws: TorchError.self) { try Torch.autocast(.bf16, device: Device("nowhere")) { try x.add(1) } }
          #expect(throws: TorchError.self) { try Torch.withoutGradients { () throws(TorchError) in try x.bmm(x) } }
          let optimizer = try AdamW([("x", x)], options: .init(rate: 0.1))
          try optimizer.step()
          _ = try optimizer.state()
          #expect(throws: TorchError.self) { try optimizer.load([:]) }
        }
        #expect(Torch.liveHandles == 0)
      }
    }

    @Test func peakMemoryIsOfWhatLivesTogether() throws {
      let before = try Tensor.zeros(shape: [1 << 20])
      let (kept, bytes) = try Torch.peakMemory { () throws(TorchError) in
        // Two at a time, one after the other.
        for _ in 0..<5 { _ = try Tensor.zeros(shape: [1 << 10]).add(1) }
        return try before.narrow(dim: 0, start: 0, length: 1 << 10).mul(2)
      }
      // And what LibTorch makes of a number.
      #expect((8192..<8256).contains(bytes) && kept.count == 1 << 10)
      #expect(try Torch.peakMemory { () throws(TorchError) in try before.reshape([1 << 10, 1 << 10]) }.bytes == 0)
      #expect(throws: TorchError.self) { try Torch.peakMemory { () throws(TorchError) in try before.bmm(before) } }
    }

    @Test func modesEndWithTheirBlock() throws {
      let x = try Tensor.ones(shape: [2, 2]).requiresGrad(true)
      let unrecorded = try Torch.withoutGradients { try x.mul(2) }
      #expect(!unrecorded.requiresGrad)
      let inferred = try Torch.inferenceMode { try x.mul(2) }
      #expect(!inferred.requiresGrad)
      #expect(throws: TorchError.self) { try Torch.withoutGradients { () throws(TorchError) in try x.bmm(x) } }
      #expect(try x.mul(2).requiresGrad)
      #expect(try Torch.autocast(.bf16) { try x.matmul(x) }.dtype == .bf16)
      #expect(try x.matmul(x).dtype == .f32)
    }
  }
}
