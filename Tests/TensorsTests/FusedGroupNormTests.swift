import Foundation
import Tensors
import Testing

extension TensorsTests {
  @Suite struct FusedGroupNorm {
    /// Channels that are and aren't a multiple of the kernel's 16 lanes; pixels below, at and above its run lengths.
    static let shapes: [[Int]] = [
      [1, 32, 1, 1], [2, 32, 8, 8], [3, 8, 5, 7], [2, 6, 3, 3], [1, 48, 17, 9], [1, 20, 32, 33], [1, 2, 130, 129], [2, 4, 300], [2, 12],
    ]

    struct Case {
      let shape: [Int]
      let x: Tensor
      let weight: Tensor
      let bias: Tensor
      let scale: Tensor
      let shift: Tensor
      let groups: Int

      init(shape: [Int], seed: UInt64, offset: Float = 0.5) throws {
        var numbers = SeededNumbers(seed: seed)
        self.shape = shape
        x = try numbers.tensor(shape, offset - 3, offset + 3)
        weight = try numbers.tensor([shape[1]], 0.5, 1.5)
        bias = try numbers.tensor([shape[1]])
        scale = try numbers.tensor([shape[0], shape[1]])
        shift = try numbers.tensor([shape[0], shape[1]])
        groups = shape[1] % 32 == 0 ? 32 : 2
      }

      func reference(modulated: Bool, silu: Bool) throws -> [Float] {
        let pixels = shape.dropFirst(2).reduce(1, *)
        return GroupNormReference(
          groups: groups, weight: try weight.floats(), bias: try bias.floats(), scale: modulated ? try scale.floats() : nil,
          shift: modulated ? try shift.floats() : nil, silu: silu
        ).apply(try x.floats(), shape: [shape[0], shape[1], pixels])
      }

      func fused(_ x: Tensor, modulated: Bool, silu: Bool) throws -> Tensor {
        try x.fusedGroupNorm(
          groups: groups, weight: weight, bias: bias, scale: modulated ? scale : nil, shift: modulated ? shift : nil, silu: silu)
      }
    }

    @Test(arguments: shapes) func equalsItsDefinition(shape: [Int]) throws {
      let c = try Case(shape: shape, seed: 7)
      for (modulated, silu) in [(false, false), (false, true), (true, false), (true, true)] {
        let expected = try c.reference(modulated: modulated, silu: silu)
        let label = "\(shape) modulated \(modulated) silu \(silu)"
        try expectClose(c.fused(c.x, modulated: modulated, silu: silu), expected, within: 1e-5, label)
        guard shape.count == 4 else { continue }
        let channelsLast = try c.fused(c.x.channelsLast(), modulated: modulated, silu: silu)
        #expect(channelsLast.isChannelsLast)
        try expectClose(channelsLast, expected, within: 1e-5, "channels-last " + label)
      }
    }

    @Test(arguments: shapes) func equalsLibTorch(shape: [Int]) throws {
      let c = try Case(shape: shape, seed: 8)
      // Groups of one element are a difference of equal numbers times 316, which LibTorch computes to 1e-4.
      let expected = try c.x.groupNorm(groups: c.groups, weight: c.weight, bias: c.bias).silu().floats()
      try expectClose(c.fused(c.x, modulated: false, silu: true), expected, within: shape == [1, 32, 1, 1] ? 1e-4 : 1e-5)
    }

    /// A bf16 result is the f32 result of the same bf16 input, rounded once; a value near a tie may fall either side.
    @Test(arguments: shapes) func halfPrecision(shape: [Int]) throws {
      let c = try Case(shape: shape, seed: 9)
      let x = try c.x.to(.bf16)
      for (modulated, silu) in [(false, false), (true, true)] {
        let wide = try c.fused(x.to(.f32), modulated: modulated, silu: silu).floats()
        for input in shape.count == 4 ? [x, try x.channelsLast()] : [x] {
          let narrow = try c.fused(input, modulated: modulated, silu: silu)
          #expect(try narrow.dtype == .bf16)
          for (index, (a, b)) in zip(try narrow.floats(), wide).enumerated() where abs(a - b) > max(abs(b), 1e-3) * 0x1.01p-8 {
            Issue.record("\(shape) element \(index): \(a) is not \(b) rounded to bf16")
            break
          }
        }
      }
    }

    /// Rounding, exhaustively over what matters: identity normalisation of values with every kind of low half.
    @Test func roundsToNearestEven() throws {
      var numbers = SeededNumbers(seed: 10)
      let x = try numbers.tensor([1, 2, 32, 32], -4, 4).to(.bf16)
      // Without weight and with one huge eps the factor is 1/sqrt(variance + eps): exact values come from the f32 path.
      let wide = try x.to(.f32).fusedGroupNorm(groups: 1, weight: nil, bias: nil, silu: false)
      let narrow = try x.fusedGroupNorm(groups: 1, weight: nil, bias: nil, silu: false)
      #expect(try narrow.bytes() == wide.to(.bf16).bytes())
    }

    /// A mean hundreds of deviations from zero costs no digits.
    @Test func farFromZero() throws {
      for layout in ["contiguous", "channels-last"] {
        let c = try Case(shape: [2, 32, 12, 12], seed: 11, offset: 1000)
        let x = layout == "contiguous" ? c.x : try c.x.channelsLast()
        try expectClose(c.fused(x, modulated: false, silu: false), c.reference(modulated: false, silu: false), within: 1e-5, layout)
      }
    }

    @Test func extremesOfSiLU() throws {
      let values: [Float] = [-1e4, -200, -100, -88, -87, -50, -10, -1e-3, 0, 1e-3, 10, 50, 87, 100, 1e4, 1e30]
      // Scale 0-mean data of variance 1 by weight 0 and shift by the wanted value.
      let x = try Tensor([1, -1] as [Float], shape: [1, 1, 2]).expand([1, values.count, 2])
      let y = try x.fusedGroupNorm(
        groups: 1, weight: Tensor.zeros(shape: [values.count]), bias: Tensor(values, shape: [values.count]), silu: true
      ).floats()
      for (index, value) in values.enumerated() {
        let expected = Double(value) / (1 + exp(-Double(value)))
        let actual = Double(y[2 * index])
        #expect(abs(actual - expected) <= max(abs(expected) * 1e-6, 1e-35), "silu(\(value)) is \(actual), expected \(expected)")
      }
    }

    @Test func carriesNaN() throws {
      for dtype in [DType.f32, .bf16] {
        let x = try Tensor([1, 2, .nan, 4, 5, 6, 7, 8] as [Float], shape: [2, 2, 2]).to(dtype)
        let y = try x.fusedGroupNorm(groups: 1, weight: nil, bias: nil, silu: true).floats()
        #expect(y[0..<4].allSatisfy { $0.isNaN })
        #expect(y[4..<8].allSatisfy { $0.isFinite })
      }
    }

    /// Where the result takes the input's place it is the same, and so is what else was looked at.
    @Test(arguments: shapes, [DType.f32, .bf16]) func overwriting(shape: [Int], dtype: DType) throws {
      let c = try Case(shape: shape, seed: 15)
      for channelsLast in [false, true] where !channelsLast || shape.count == 4 {
        let x = try (channelsLast ? c.x.channelsLast() : c.x).to(dtype)
        // A part of a larger tensor, whose other part is not to be touched.
        let both = try Tensor.cat([x, x], dim: 0)
        let first = try both.narrow(dim: 0, start: 0, length: shape[0])
        func run(_ x: Tensor, overwriting: Bool) throws -> Tensor {
          try x.fusedGroupNorm(
            groups: c.groups, weight: c.weight, bias: c.bias, scale: c.scale, shift: c.shift, silu: true, overwriting: overwriting)
        }
        let expected = try run(x, overwriting: false)
        #expect(try run(first, overwriting: true).bytes() == expected.bytes())
        #expect(try both.narrow(dim: 0, start: shape[0], length: shape[0]).bytes() == x.bytes())
      }
    }

    @Test func emptyInput() throws {
      let y = try Tensor.zeros(shape: [0, 4, 2, 2]).fusedGroupNorm(groups: 2, weight: nil, bias: nil, silu: true)
      #expect(y.shape == [0, 4, 2, 2])
    }

    @Test func modulationMayBeViewsOfAnyType() throws {
      let c = try Case(shape: [2, 32, 4, 4], seed: 12)
      let both = try Tensor.cat([c.scale, c.shift], dim: 1).reshape([2, 64, 1, 1])
      let parts = try both.chunk(2, dim: 1)
      let y = try c.x.fusedGroupNorm(
        groups: c.groups, weight: c.weight, bias: c.bias, scale: parts[0], shift: parts[1], silu: true)
      #expect(try y.bytes() == c.fused(c.x, modulated: true, silu: true).bytes())
      let narrow = try c.x.fusedGroupNorm(
        groups: c.groups, weight: c.weight.to(.bf16), bias: c.bias.to(.bf16), scale: parts[0].to(.bf16), shift: parts[1].to(.bf16),
        silu: true)
      try expectClose(narrow, y.floats(), within: 0.05)
      let shared = try c.x.fusedGroupNorm(
        groups: c.groups, weight: nil, bias: nil, scale: c.scale.narrow(dim: 0, start: 0, length: 1), silu: false)
      #expect(shared.shape == c.shape)
    }

    /// The contract that serving stands on: bytes of a sample alone, in batches of 1 to 8, in every slot, with 1 and 2 threads.
    @Test func bytesDependOnTheSampleAlone() async {
      await #expect(processExitsWith: .success) {
        for dtype in [DType.f32, .bf16] {
          for shape in [[32, 8, 8], [32, 40, 40], [20, 33, 31]] { try Self.compareBatches(of: shape, dtype) }
        }
      }
    }

    static func compareBatches(of shape: [Int], _ dtype: DType) throws {
      var numbers = SeededNumbers(seed: 13)
      let samples = try (0..<8).map { try Tensor.randn(shape: [1] + shape, seed: UInt64($0)).add(0.5).to(dtype) }
      let scales = try (0..<8).map { _ in try numbers.tensor([1, shape[0]]) }
      let weight = try numbers.tensor([shape[0]])
      let groups = shape[0] % 32 == 0 ? 32 : 4
      for channelsLast in [false, true] {
        func run(_ picked: [Int]) throws -> [[UInt8]] {
          let x = try Tensor.cat(picked.map { samples[$0] }, dim: 0)
          let y = try (channelsLast ? x.channelsLast() : x.contiguous()).fusedGroupNorm(
            groups: groups, weight: weight, bias: nil, scale: Tensor.cat(picked.map { scales[$0] }, dim: 0), silu: true)
          return try picked.indices.map { try y.narrow(dim: 0, start: $0, length: 1).bytes() }
        }
        try Torch.setThreads(1)
        let alone = try samples.indices.map { try run([$0])[0] }
        for threads in 1...2 {
          try Torch.setThreads(threads)
          for count in 1...8 {
            for first in [0, 3] {
              let picked = (0..<count).map { (first + $0) % 8 }
              for (slot, bytes) in try run(picked).enumerated() where bytes != alone[picked[slot]] {
                Issue.record("\(dtype) \(shape) channels-last \(channelsLast): batch \(picked), slot \(slot), \(threads) threads differs")
              }
            }
          }
        }
      }
    }

    @Test func refusals() throws {
      let x = try Tensor.ones(shape: [2, 4, 2, 2])
      func message(_ body: () throws -> Tensor) -> String {
        do {
          _ = try body()
          return "no error"
        } catch { return "\(error)" }
      }
      #expect(message { try x.fusedGroupNorm(groups: 3, weight: nil, bias: nil, silu: false) }.contains("4 channels do not form 3"))
      #expect(message { try x.fusedGroupNorm(groups: 0, weight: nil, bias: nil, silu: false) }.contains("groups"))
      #expect(
        message { try x.fusedGroupNorm(groups: 2, weight: Tensor.ones(shape: [3]), bias: nil, silu: false) }.contains(
          "weight must have shape"))
      #expect(
        message { try x.fusedGroupNorm(groups: 2, weight: nil, bias: nil, scale: Tensor.ones(shape: [3, 4]), silu: false) }
          .contains("scale must have shape"))
      #expect(message { try x.to(.f64).fusedGroupNorm(groups: 2, weight: nil, bias: nil, silu: false) }.contains("f32 or bf16"))
      #expect(
        message { try x.clone().requiresGrad(true).fusedGroupNorm(groups: 2, weight: nil, bias: nil, silu: false) }.contains("no gradient"))
    }
  }
}
