import Tensors
import Testing

@testable import UNet

@Suite struct NullClassTests {
  /// Of a batch, the second sample is of the null class: it comes out as from a network whose labels' rows are zero, its neighbours as ever.
  @Test(arguments: [false, true]) func nothingIsAddedForIt(served: Bool) throws {
    let golden = try Golden("upsampler")
    let withoutRows = try golden.parameters.map { ($0.name, $0.name == "label_emb.weight" ? try $0.tensor.zerosLike() : $0.tensor) }
    let numbers = try #require(golden.labels).integers().map { Int($0) }

    func output(_ parameters: [(name: String, tensor: Tensor)], _ labels: [Int?]) throws -> [[Float]] {
      let y = try ClassLabels.tensor(labels)
      let out: Tensor
      if served {
        out = try ServedUNet(golden.configuration, parameters: parameters, dtype: .f32)(
          x: golden.x, timesteps: golden.timesteps, labels: y, lowRes: golden.lowRes, augLevels: golden.augLevels)
      } else {
        out = try withTemporaryFile { path in
          try Safetensors.write(parameters.map { ($0.name, $0.tensor) }, to: path)
          return try UNet(golden.configuration, weights: Safetensors.open(path))(
            x: golden.x, timesteps: golden.timesteps, labels: y, lowRes: golden.lowRes, augLevels: golden.augLevels, training: false)
        }
      }
      return try (0..<labels.count).map { try out.narrow(dim: 0, start: $0, length: 1).floats() }
    }

    let mixed = try output(golden.parameters, [numbers[0], nil, numbers[2]])
    let labelled = try output(golden.parameters, numbers)
    let zeroed = try output(withoutRows, numbers)
    #expect(mixed == [labelled[0], zeroed[1], labelled[2]])
    #expect(mixed[1] != labelled[1])
    #expect(try output(golden.parameters, [nil, nil, nil]) == zeroed)
  }

  @Test func itsGradientReachesNoRow() throws {
    let golden = try Golden("upsampler")
    let net = try golden.withWeightsFile { try UNet(golden.configuration, weights: $0) }
    let table = try #require(net.parameters.first { $0.name == "label_emb.weight" }?.tensor)
    let out = try net(
      x: golden.x, timesteps: golden.timesteps, labels: ClassLabels.tensor([nil, 2, nil]), lowRes: golden.lowRes,
      augLevels: golden.augLevels, training: true)
    try out.square().sum().backward()
    let gradient = try #require(try table.grad)
    for row in 0..<table.shape[0] {
      let numbers = try gradient.narrow(dim: 0, start: row, length: 1).floats()
      #expect(numbers.contains { $0 != 0 } == (row == 2), "row \(row)")
    }
  }
}
