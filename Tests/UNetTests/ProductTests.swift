import Tensors
import Testing

@testable import UNet

/// What a benchmark repeats is every convolution and linear layer of a pass, once.
@Suite struct ProductTests {
  @Test(arguments: Golden.names) func productsAreTheLayersOfTheNetwork(name: String) throws {
    let golden = try Golden(name)
    let configuration = golden.configuration
    var expected = 0
    for parameter in NetworkLayout.network(configuration).parameters where parameter.name.hasSuffix(".weight") {
      let fanIn = parameter.shape.dropFirst().reduce(1, *)
      switch parameter.role {
      case .convolutionWeight(let stride, _, let side): expected += 2 * parameter.shape[0] * fanIn * (side / stride) * (side / stride)
      case .embedding, .modulation: expected += 2 * parameter.shape[0] * fanIn
      case .table, .norm, .convolutionBias: break
      }
    }
    let net = try ServedUNet(configuration, parameters: golden.parameters, dtype: .f32)
    let products = try net.products(side: configuration.imageSize, count: 1)
    #expect(products.reduce(0) { $0 + $1.operations } == expected)
    try net.run(products, count: 2)
  }
}
