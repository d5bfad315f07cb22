import Tensors
import Testing

@testable import UNet

/// Outputs against an independent PyTorch implementation.
@Suite struct ParityTests {
  @Test(arguments: Golden.names) func trainablePathMatchesReference(name: String) throws {
    let golden = try Golden(name)
    let net = try golden.withWeightsFile { try UNet(golden.configuration, weights: $0) }
    let output = try Torch.withoutGradients { try net(golden, training: false) }
    let error = try relativeError(output, golden.output)
    #expect(output.shape == golden.output.shape)
    #expect(error <= 1e-5)
  }

  @Test(arguments: Golden.names) func servedPathMatchesReference(name: String) throws {
    let golden = try Golden(name)
    let net = try golden.withWeightsFile { try ServedUNet(golden.configuration, weights: $0, dtype: .f32) }
    let output = try net(golden)
    let error = try relativeError(output, golden.output)
    #expect(output.shape == golden.output.shape)
    #expect(error <= 1e-5)
  }

  @Test(arguments: Golden.names) func halfPrecisionIsClose(name: String) throws {
    let golden = try Golden(name)
    let served = try ServedUNet(golden.configuration, parameters: golden.parameters, dtype: .bf16)
    let servedError = try rmsError(served(golden), golden.output)
    // Where the processor multiplies bf16, what the products are of is rounded too.
    #expect(servedError < (Torch.multipliesBF16 ? 0.04 : 0.02) && servedError > 0)
    let net = try golden.withWeightsFile { try UNet(golden.configuration, weights: $0) }
    let trainableError = try rmsError(Torch.withoutGradients { try net(golden, training: false, dtype: .bf16) }, golden.output)
    #expect(trainableError < 0.02 && trainableError > 0)
  }

  @Test(arguments: Golden.names) func everyParameterGetsAGradient(name: String) throws {
    let golden = try Golden(name)
    let net = try golden.withWeightsFile { try UNet(golden.configuration, weights: $0) }
    try net(golden, training: true).sub(golden.output.mul(2)).square().mean().backward()
    for (name, tensor) in net.parameters {
      let gradient = try #require(try tensor.grad, "\(name) has no gradient")
      #expect(try gradient.isFinite(), "\(name)")
      #expect(try gradient.abs().sum().item() > 0, "\(name)'s gradient is zero")
    }
  }

  @Test func gradientMatchesDifferences() throws {
    let golden = try Golden("upsampler")
    let net = try golden.withWeightsFile { try UNet(golden.configuration, weights: $0) }
    func loss() throws -> Tensor { try net(golden, training: false).square().mean() }
    try loss().backward()
    for name in ["time_embed.0.weight", "aug_embed.2.bias", "middle_block.1.qkv.weight", "input_blocks.1.0.in_layers.2.weight"] {
      let tensor = try #require(net.parameters.first { $0.name == name }).tensor
      let gradient = try #require(try tensor.grad)
      // Along its own gradient a step of h changes the loss by h times the gradient's norm.
      let norm = try gradient.square().sum().item().squareRoot()
      let h = 2e-3 * (try tensor.detach().square().sum().item().squareRoot())
      func shifted(_ distance: Double) throws -> Double {
        try Torch.withoutGradients {
          try tensor.add_(gradient, factor: distance / norm)
          defer { try? tensor.add_(gradient, factor: -distance / norm) }
          return try loss().item()
        }
      }
      let slope = (try shifted(h) - shifted(-h)) / (2 * h)
      #expect(abs(slope - norm) < 0.03 * norm, "\(name): slope \(slope), gradient \(norm)")
    }
  }

  @Test func dropoutActsInTrainingOnly() throws {
    let golden = try Golden("plain")
    var configuration = golden.configuration
    configuration.dropout = 0.5
    let net = try golden.withWeightsFile { try UNet(configuration, weights: $0) }
    try Torch.withoutGradients {
      try #expect(relativeError(net(golden, training: false), golden.output) <= 1e-5)
      try #expect(relativeError(net(golden, training: true), golden.output) > 0.01)
    }
  }
}

extension UNet {
  func callAsFunction(_ golden: Golden, training: Bool, dtype: DType = .f32) throws -> Tensor {
    try self(
      x: golden.x, timesteps: golden.timesteps, labels: golden.labels, lowRes: golden.lowRes, augLevels: golden.augLevels,
      training: training, dtype: dtype)
  }
}

extension ServedUNet {
  func callAsFunction(_ golden: Golden) throws -> Tensor {
    try self(x: golden.x, timesteps: golden.timesteps, labels: golden.labels, lowRes: golden.lowRes, augLevels: golden.augLevels)
  }
}
