import Tensors
import Testing

@testable import UNet

/// A sample's bytes are the same alone and in every batch, at every slot, with one thread and several.
@Suite struct InvarianceTests {
  struct Stage: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let configuration: UNetConfiguration

    init(_ name: String, imageSize: Int, mult: [Double], blocks: Int, set: (inout UNetConfiguration) -> Void) {
      testDescription = name
      var configuration = UNetConfiguration(imageSize: imageSize, modelChannels: 32, numResBlocks: blocks, channelMult: mult)
      configuration.numHeadChannels = 32
      configuration.resblockUpdown = true
      configuration.numClasses = 12
      set(&configuration)
      self.configuration = configuration
    }
  }

  /// The shapes of a cascade's three stages, smaller.
  static let stages = [
    Stage("base", imageSize: 16, mult: [1, 2, 3], blocks: 1) { $0.attentionResolutions = [8, 4] },
    Stage("sr with s", imageSize: 32, mult: [1, 2, 3], blocks: 1) {
      $0.attentionResolutions = [8]
      $0.superResolution = true
      $0.augLevels = true
    },
    Stage("sr without attention", imageSize: 32, mult: [1, 2], blocks: 1) { $0.superResolution = true },
  ]

  @Test(arguments: stages, [DType.f32, .bf16])
  func bytesDoNotDependOnTheBatch(stage: Stage, dtype: DType) throws {
    let configuration = stage.configuration
    // Random everywhere: a fresh network's zeroed layers would hide most of it.
    let parameters = try configuration.tensorShapes().enumerated().map { index, parameter in
      let noise = try Tensor.randn(shape: parameter.shape, seed: UInt64(100 + index))
      let fanIn = parameter.shape.count > 1 ? parameter.shape.dropFirst().reduce(1, *) : 25
      return (name: parameter.name, tensor: try noise.mul(1 / Double(fanIn).squareRoot()))
    }
    let nets = try [1, 2, 3].map { try ServedUNet(configuration, parameters: parameters, dtype: dtype, threads: $0) }
    // The networks take images of any size, and many processors emulate bf16, which takes long.
    let side = configuration.imageSize / (dtype == .bf16 ? 2 : 1)
    let samples = 8
    let x = try Tensor.randn(shape: [samples, 3, side, side], seed: 1)
    let t = try Tensor((0..<samples).map { Float($0) * 142.3 }, shape: [samples])
    let y = try Tensor((0..<samples).map { Int64($0 * 5 % 12) }, shape: [samples])
    let lowRes = configuration.superResolution ? try Tensor.randn(shape: [samples, 3, side / 4, side / 4], seed: 2) : nil
    let s = configuration.augLevels ? try Tensor((0..<samples).map { Float(($0 * 3) % 8) * 70.7 }, shape: [samples]) : nil

    func run(_ net: ServedUNet, _ indices: [Int]) throws -> [[UInt8]] {
      let pick = try Tensor(indices.map(Int64.init), shape: [indices.count])
      let output = try net(
        x: x.indexSelect(dim: 0, pick), timesteps: t.indexSelect(dim: 0, pick), labels: y.indexSelect(dim: 0, pick),
        lowRes: lowRes?.indexSelect(dim: 0, pick), augLevels: s?.indexSelect(dim: 0, pick))
      return try (0..<indices.count).map { try output.narrow(dim: 0, start: $0, length: 1).bytes() }
    }

    let alone = try (0..<samples).map { try run(nets[0], [$0])[0] }
    #expect(Set(alone).count == samples, "the samples should differ")
    // Every size and every slot, each time with other samples.
    for net in nets {
      for size in 1...samples {
        let indices = (0..<size).map { ($0 * 3 + size) % samples }
        for (slot, bytes) in try run(net, indices).enumerated() where bytes != alone[indices[slot]] {
          Issue.record("sample \(indices[slot]) differs at slot \(slot) of the batch \(indices), \(net.threads) threads")
        }
      }
    }
  }
}
