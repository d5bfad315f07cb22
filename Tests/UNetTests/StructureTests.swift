import Foundation
import Tensors
import Testing

@testable import UNet

@Suite struct StructureTests {
  /// OpenAI's 64x64_diffusion.pt.
  static let public64 = """
    {"image_size": 64, "model_channels": 192, "num_res_blocks": 3, "channel_mult": "1,2,3,4", "attention_resolutions": "32,16,8",
     "num_head_channels": 64, "num_classes": 1000, "dropout": 0.1, "learn_sigma": true, "resblock_updown": true,
     "use_scale_shift_norm": true, "use_new_attention_order": true}
    """
  /// OpenAI's 64_256_upsampler.pt.
  static let publicUpsampler = """
    {"image_size": 256, "model_channels": 192, "num_res_blocks": 2, "channel_mult": [1, 1, 2, 2, 4, 4],
     "attention_resolutions": [32, 16, 8], "num_heads": 4, "num_classes": 1000, "learn_sigma": true, "resblock_updown": true,
     "use_scale_shift_norm": true, "super_resolution": true}
    """

  static func decode(_ json: String) throws -> UNetConfiguration {
    try UNetConfiguration(json: Data(json.utf8))
  }

  @Test(arguments: [(public64, 295_904_454, 541), (publicUpsampler, 311_795_910, 567)])
  func publicConfigurations(json: String, parameters: Int, tensors: Int) throws {
    let shapes = try Self.decode(json).tensorShapes()
    #expect(shapes.count == tensors)
    #expect(shapes.reduce(0) { $0 + $1.shape.reduce(1, *) } == parameters)
    #expect(Set(shapes.map(\.name)).count == tensors)
  }

  @Test func publicNamesAndShapes() throws {
    let shapes = Dictionary(uniqueKeysWithValues: try Self.decode(Self.publicUpsampler).tensorShapes().map { ($0.name, $0.shape) })
    #expect(shapes["input_blocks.0.0.weight"] == [192, 6, 3, 3])
    #expect(shapes["label_emb.weight"] == [1000, 768])
    #expect(shapes["input_blocks.13.0.skip_connection.weight"] == [768, 384, 1, 1])
    #expect(shapes["input_blocks.13.1.qkv.weight"] == [2304, 768, 1])
    #expect(shapes["output_blocks.2.2.in_layers.0.bias"] == [768])
    #expect(shapes["output_blocks.14.1.emb_layers.1.weight"] == [384, 768])
    #expect(shapes["out.2.bias"] == [6])
  }

  @Test(arguments: Golden.names) func orderIsTheReferences(name: String) throws {
    let golden = try Golden(name)
    #expect(golden.parameters.map(\.name) == golden.referenceOrder)
  }

  @Test func freshNetworkStartsAsPyTorchWould() throws {
    var configuration = UNetConfiguration(imageSize: 8, modelChannels: 32, numResBlocks: 1, channelMult: [1, 2])
    configuration.numClasses = 10
    configuration.resblockUpdown = true
    let net = try UNet(configuration, seed: 7)
    #expect(net.parameterCount == (try configuration.tensorShapes().reduce(0) { $0 + $1.shape.reduce(1, *) }))
    let tensors = Dictionary(uniqueKeysWithValues: net.parameters.map { ($0.name, $0.tensor) })
    func floats(_ name: String) throws -> [Float] { try #require(tensors[name]).detach().floats() }
    for name in ["middle_block.0.out_layers.3.weight", "middle_block.1.proj_out.bias", "out.2.weight"] {
      #expect(try floats(name).allSatisfy { $0 == 0 }, "\(name)")
    }
    #expect(try floats("middle_block.0.in_layers.0.weight").allSatisfy { $0 == 1 })
    // Kaiming-uniform with a = √5: bound 1/√fan_in.
    let bounded: [(String, Int)] = [
      ("time_embed.2.weight", 128), ("time_embed.2.bias", 128), ("middle_block.0.in_layers.2.weight", 64 * 9),
      ("middle_block.1.qkv.weight", 64), ("output_blocks.0.0.skip_connection.bias", 128),
    ]
    for (name, fanIn) in bounded {
      let bound = 1 / Float(fanIn).squareRoot()
      let largest = try floats(name).map(abs).max() ?? 0
      #expect(largest <= bound && largest > 0.9 * bound, "\(name): \(largest) of \(bound)")
    }
    let table = try floats("label_emb.weight")
    let variance = table.reduce(0) { $0 + $1 * $1 } / Float(table.count)
    #expect(abs(variance - 1) < 0.15)
    let again = try UNet(configuration, seed: 7).parameters
    let other = try UNet(configuration, seed: 8).parameters
    for (index, parameter) in net.parameters.enumerated() {
      #expect(try parameter.tensor.bytes() == again[index].tensor.bytes())
    }
    #expect(try other[0].tensor.bytes() != again[0].tensor.bytes())
  }

  /// Its last layer is zeroed, so a new network answers zero.
  @Test func freshNetworkPredictsZero() throws {
    let configuration = UNetConfiguration(imageSize: 8, modelChannels: 32, numResBlocks: 1, channelMult: [1, 1])
    let net = try UNet(configuration, seed: 1)
    let output = try net(x: .randn(shape: [2, 3, 8, 8], seed: 3), timesteps: Tensor([Float(3), 900.5], shape: [2]), training: true)
    #expect(try output.floats().allSatisfy { $0 == 0 })
  }

  @Test func configurationSurvivesJSON() throws {
    for json in [Self.public64, Self.publicUpsampler] {
      let configuration = try Self.decode(json)
      #expect(try Self.decode(String(decoding: JSONEncoder().encode(configuration), as: UTF8.self)) == configuration)
    }
  }

  @Test(arguments: [
    (#""use_scaleshift": true"#, #"unknown key "use_scaleshift""#),
    (#""channel_mult": [1, 1.3]"#, "multiple of 32"),
    (#""channel_mult": []"#, "channel_mult"),
    (#""channel_mult": "1,x""#, "not a list of numbers"),
    (#""channel_mult": [1, 1e300]"#, "multiple of 32"),
    (#""channel_mult": [1, -1]"#, "multiple of 32"),
    (#""attention_resolutions": [7]"#, "attention resolution 7 doesn't divide image_size 32"),
    (#""attention_resolutions": [0]"#, "attention resolution 0"),
    (#""num_head_channels": 24"#, "num_head_channels 24 doesn't divide"),
    (#""num_heads": 5"#, "num_heads 5 doesn't divide"),
    (#""num_heads": 0"#, "num_heads is 0"),
    (#""image_size": 33"#, "image_size 33 can't be halved"),
    (#""image_size": 99999999999"#, "image_size"),
    (#""num_classes": 0"#, "num_classes"),
    (#""dropout": 1"#, "dropout"),
    (#""out_channels": 4"#, "out_channels is 4"),
    (#""learn_sigma": true, "out_channels": 3"#, "learn_sigma"),
    (#""num_res_blocks": "two""#, "num_res_blocks"),
    (#""dims": 3"#, "dims must be 2"),
    (#""num_heads_upsample": 2"#, "num_heads_upsample"),
  ])
  func badFlagsAreNamed(flag: String, message: String) throws {
    var flags = [
      "image_size": "32", "model_channels": "32", "num_res_blocks": "1", "channel_mult": "[1, 2]", "attention_resolutions": "[16]",
    ]
    let overridden = try #require(JSONSerialization.jsonObject(with: Data("{\(flag)}".utf8)) as? [String: Any])
    for key in overridden.keys { flags[key] = nil }
    let json = "{" + (flags.map { "\"\($0)\": \($1)" } + [flag]).joined(separator: ", ") + "}"
    #expect {
      try Self.decode(json)
    } throws: { error in
      "\(error)".contains(message)
    }
  }

  @Test(arguments: [
    (#"{"image_size": 32}"#, "model_channels is missing"), ("[]", "network: "), ("{", "network: "), ("", "network: "),
  ])
  func badDocumentsAreNamed(json: String, message: String) {
    #expect {
      try Self.decode(json)
    } throws: { error in
      (error as? UNetError)?.message.contains(message) == true
    }
  }

  @Test func wrongWeightsAreNamed() throws {
    let golden = try Golden("upsampler")
    var tensors = golden.parameters.map { ($0.name, $0.tensor) }
    tensors.removeAll { $0.0 == "out.2.bias" }
    tensors.append(("stray.weight", try .zeros(shape: [2])))
    tensors[0].1 = try .zeros(shape: [3, 3])
    try withTemporaryFile { path in
      try Safetensors.write(tensors, to: path)
      let file = try Safetensors.open(path)
      for load in [
        { _ = try UNet(golden.configuration, weights: file) }, { _ = try ServedUNet(golden.configuration, weights: file, dtype: .f32) },
      ] {
        #expect {
          try load()
        } throws: { error in
          ["missing: out.2.bias", "stray.weight", "time_embed.0.weight is [3, 3], should be [32, 8]"].allSatisfy { "\(error)".contains($0) }
        }
      }
    }
  }

  @Test func wrongInputsAreNamed() throws {
    let golden = try Golden("upsampler")
    let net = try ServedUNet(golden.configuration, parameters: golden.parameters, dtype: .f32)
    func expect(
      _ message: String, x: Tensor? = nil, t: Tensor? = nil, y: Tensor?? = .none, lowRes: Tensor?? = .none, s: Tensor?? = .none
    ) {
      #expect {
        try net(
          x: x ?? golden.x, timesteps: t ?? golden.timesteps, labels: y ?? golden.labels, lowRes: lowRes ?? golden.lowRes,
          augLevels: s ?? golden.augLevels)
      } throws: { error in
        "\(error)".contains(message)
      }
    }
    expect("x has shape [3, 4, 8, 8]", x: try .zeros(shape: [3, 4, 8, 8]))
    expect("x has shape [3, 3, 7, 8]", x: try .zeros(shape: [3, 3, 7, 8]))
    expect("x has shape [0, 3, 8, 8]", x: try .zeros(shape: [0, 3, 8, 8]))
    expect("t has shape [2]", t: try .zeros(shape: [2]))
    expect("y (labels) is missing", y: .some(nil))
    expect("y (labels) is f32", y: try Tensor.zeros(shape: [3]))
    expect("y (labels) has 4", y: try Tensor([Int64(0), 4, 1], shape: [3]))
    expect("y (labels) has -2", y: try Tensor([Int64(0), -2, 1], shape: [3]))
    expect("low_res is missing", lowRes: .some(nil))
    expect("low_res has shape [3, 1, 2, 2]", lowRes: try Tensor.zeros(shape: [3, 1, 2, 2]))
    expect("s (augmentation levels) is missing", s: .some(nil))
  }
}
