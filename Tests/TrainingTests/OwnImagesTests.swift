import Cascade
import Foundation
import Tensors
import Testing
import UNet

@testable import Training

/// What people have: any kinds and sizes of PNG, broken ones and other files among them.
@Suite struct OwnImagesTests {
  private static let template = """
    {"name": "template", "labels": ["x", "y", "z"], "stages": [{
      "name": "base16", "resolution": 16, "weights": "base16.safetensors",
      "network": {"image_size": 16, "in_channels": 3, "model_channels": 32, "out_channels": 3, "num_res_blocks": 1, "channel_mult": [1, 1],
        "attention_resolutions": [], "num_heads": 1, "num_head_channels": 32, "num_classes": 3, "dropout": 0.1, "use_scale_shift_norm": true,
        "resblock_updown": true, "use_new_attention_order": false, "conv_resample": true, "learn_sigma": false, "super_resolution": false,
        "aug_levels": false},
      "schedule": {"kind": "cosine", "steps": 100}, "prediction": "v", "variance": "fixed_small", "conditioning": null,
      "sampler": {"kind": "ddim", "steps": 2, "spacing": {"kind": "karras", "rho": 7, "sigma_min": 0.05, "sigma_max": 80}}, "dtype": "bf16"}]}
    """

  /// A folder "photos" and the colours that its readable images have, by path.
  private func photos(_ folder: TemporaryFolder) throws -> [String: [Float]] {
    let readable: [(path: String, bytes: [UInt8], colour: [Float])] = [
      ("cats/gray.png", RawPNG.bytes(.gray, width: 40, height: 20, pixel: [60]), [60, 60, 60]),
      ("cats/half see-through gray.png", RawPNG.bytes(.grayAlpha, width: 16, height: 16, pixel: [100, 128]), [177, 177, 177]),
      ("cats/small, clear.PNG", RawPNG.bytes(.rgba, width: 9, height: 31, pixel: [200, 100, 50, 0]), [255, 255, 255]),
      ("dogs/deep.png", RawPNG.bytes(.rgb, width: 33, height: 33, depth: 16, pixel: [0, 0, 128, 128, 255, 255]), [0, 128, 255]),
      ("dogs/palette.png", RawPNG.bytes(.palette, width: 16, height: 17, pixel: [1], palette: [0, 0, 0, 10, 20, 30]), [10, 20, 30]),
    ]
    let cut = RawPNG.bytes(.rgb, width: 20, height: 20, pixel: [1, 2, 3])
    let others: [(String, [UInt8])] = [
      ("cats/cut.png", [UInt8](cut.prefix(cut.count / 2))), ("cats/empty.png", []), ("dogs/text.png", Array("no PNG".utf8)),
      ("dogs/notes.txt", Array("a note".utf8)), ("dogs/.hidden", []), ("list.csv", []),
    ]
    for name in ["cats", "dogs"] {
      try FileManager.default.createDirectory(atPath: "\(folder.path)/photos/\(name)", withIntermediateDirectories: true)
    }
    for (path, bytes) in readable.map({ ($0.path, $0.bytes) }) + others { try RunFile.write(bytes, to: "\(folder.path)/photos/\(path)") }
    return Dictionary(uniqueKeysWithValues: readable.map { ($0.path, $0.colour) })
  }

  @Test func everyKindIsReadOverWhite() throws {
    let folder = try TemporaryFolder()
    let colours = try photos(folder)
    let data = try DataFolder(root: "\(folder.path)/photos", labels: ["cats", "dogs"])
    for item in data.items {
      guard let colour = colours[item.path] else {
        let error = #expect(throws: TrainingError.self) { try data.picture(item, side: 16) }
        #expect(error?.message.contains(item.path) == true)
        continue
      }
      let planes = try data.picture(item, side: 16).planes
      #expect(planes.count == 768)
      for (index, value) in planes.enumerated() { #expect(abs(value - colour[index / 256]) < 1e-3, "\(item.path)") }
    }
    #expect(data.items.count == 8 && Set(colours.keys).isSubset(of: data.items.map(\.path)))
  }

  @Test func aFolderTrainsWithoutSpecialSteps() throws {
    let folder = try TemporaryFolder()
    _ = try photos(folder)
    try FileManager.default.createDirectory(atPath: "\(folder.path)/template", withIntermediateDirectories: true)
    try RunFile.write(Array(Self.template.utf8), to: "\(folder.path)/template/cascade.json")

    let labels = try DataFolder.classes(in: "\(folder.path)/photos")
    #expect(labels == ["cats", "dogs"])
    let manifest = try NewPipeline.write(to: "\(folder.path)/mine", like: "\(folder.path)/template", labels: labels)
    #expect(manifest.name == "mine" && manifest.labels == labels && manifest.stages[0].network.numClasses == 2)
    let plan = try StagePlan(pipeline: "\(folder.path)/mine", stage: "base16")

    var options = TrainingOptions(out: "\(folder.path)/run", data: "\(folder.path)/photos")
    options.maxSteps = 2
    options.threads = 1
    options.dtype = .f32
    options.sampleEvery = 0
    options.export = plan.weightsPath
    let messages = Messages()
    let trainer = try Trainer(
      setting: plan.setting, network: plan.network, recipe: Recipe(batch: 4), options: options, report: messages.add)
    try trainer.run { false }
    #expect(trainer.state.step == 2)
    for broken in ["cats/cut.png", "cats/empty.png", "dogs/text.png"] {
      #expect(messages.all.filter { $0.hasPrefix("skipped: ") && $0.contains(broken) }.count == 1, "\(broken)")
    }
    #expect(messages.all.contains("3 of 8 images skipped"))
    #expect(messages.all.contains { $0.hasPrefix("1 of 8 images are smaller than 16x16") })
    #expect(messages.all.contains { $0.contains("list.csv, dogs/notes.txt") && $0.contains("mogrify") && !$0.contains(".hidden") })
    #expect(throws: Never.self) { try Pipeline.load("\(folder.path)/mine") }
  }

  @Test func aPipelineIsNotOverwrittenAndBadClassesAreNamed() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/template"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    try RunFile.write(Array(Self.template.utf8), to: "\(path)/cascade.json")
    let there = #expect(throws: CascadeError.self) { try NewPipeline.write(to: path, like: path, labels: ["a"]) }
    #expect(there?.message.contains("template/cascade.json is there already") == true)
    let number = #expect(throws: CascadeError.self) { try NewPipeline.write(to: "\(folder.path)/new", like: path, labels: ["a", "7"]) }
    #expect(number?.message.contains("\"7\" cannot be a label") == true)
    #expect(!FileManager.default.fileExists(atPath: "\(folder.path)/new"))
    let nowhere = #expect(throws: CascadeError.self) { try NewPipeline.write(to: "\(folder.path)/new", like: folder.path, labels: ["a"]) }
    #expect(nowhere?.message.contains("\(folder.path)/cascade.json") == true)

    let copy = try NewPipeline.write(to: "\(folder.path)/new", like: path, labels: ["x", "y", "z"])
    let original = try Manifest.load(path)
    #expect(copy.stages == original.stages && copy.labels == original.labels)

    // What suits the template's images may take the grain from others.
    let smoothing = #""smoothing": { "range": 16, "radius": 2, "rounds": 2 }, "dtype""#
    try FileManager.default.createDirectory(atPath: "\(folder.path)/smooth", withIntermediateDirectories: true)
    let smooth = Self.template.replacingOccurrences(of: #""dtype""#, with: smoothing)
    try RunFile.write(Array(smooth.utf8), to: "\(folder.path)/smooth/cascade.json")
    #expect(try Manifest.load("\(folder.path)/smooth").stages.allSatisfy { $0.smoothing != nil })
    #expect(
      try NewPipeline.write(to: "\(folder.path)/plain", like: "\(folder.path)/smooth", labels: ["x", "y", "z"]).stages == original.stages)

    let flat = #expect(throws: TrainingError.self) { try DataFolder.classes(in: path) }
    #expect(flat?.message.contains("no sub-folders") == true)
  }
}
