import Cascade
import Diffusion
import Digests
import Foundation
import Tensors
import Testing
import UNet

@Suite struct ManifestTests {
  @Test func readsEverything() throws {
    let manifest = try Manifest.load(TinyPipeline.shared.get().directory)
    #expect(manifest.name == "tiny" && manifest.labels == ["round", "square", "three sides"])
    #expect(manifest.stages.map(\.name) == ["base8", "sr16", "sr64"])
    #expect(manifest.stages.map(\.takesAug) == [false, true, false])
    #expect(manifest.stages.map(\.defaultAug) == [0, 100, 0])
    #expect(manifest.stages[2].conditioning?.augmentation == .blur(sigma: 0.4...0.6, probability: 0.5))
    #expect(manifest.stages[1].sampler.kind == .dpmSolver2M && manifest.stages[1].sampler.steps == 4)
    #expect(manifest.stages.map(\.sampler.spacing) == [.uniform, .karras(rho: 7, noise: 0.05...80), .uniform])
    #expect(manifest.stages[0].network.learnSigma)
  }

  /// Every wrong manifest names the file, the key and what would be right.
  @Test(arguments: [
    ("\"name\": \"tiny\",", "", "cascade.json: name: is missing"),
    ("\"tiny\"", "\"a b\"", "name: \"a b\" is not a name"),
    ("\"tiny\"", "7", "name: has the wrong type; it must be a string"),
    ("\"name\": \"tiny\"", "\"name\": \"tiny\", \"licence\": 1", "unknown key \"licence\""),
    ("\"square\"", "\"round\"", "labels: "), ("\"square\"", "\"12\"", "labels: \"12\" cannot be a label"),
    ("\"square\"", "\"../x\"", "labels: \"../x\" cannot be a label"),
    ("\"sr16\"", "\"base8\"", "stages: give 1 to 16 stages with different names"),
    ("\"resolution\": 16", "\"resolution\": 24", "stages[1].network: image_size 16 is not the stage's resolution 24"),
    ("\"resolution\": 16", "\"resolution\": 16.5", "stages[1].resolution: 16.5 is not a whole number"),
    ("\"base8.safetensors\"", "\"../b\"", "stages[0].weights: "),
    ("\"base8.safetensors\"", "\"weights.bin\"", "stages[0].weights: \"weights.bin\" is not the name of a .safetensors file"),
    (
      "\"num_res_blocks\": 1, \"channel_mult\": [1, 2], \"num_head", "\"num_res_blocks\": 0, \"channel_mult\": [1, 2], \"num_head",
      "num_res_blocks"
    ),
    ("\"num_classes\": 3, \"attention", "\"num_classes\": 4, \"attention", "is 4 but the pipeline has 3 labels"),
    ("\"kind\": \"cosine\"", "\"kind\": \"cosinus\"", "stages[0].schedule.kind: \"cosinus\" is not one of \"cosine\", \"linear\""),
    ("\"steps\": 1000", "\"steps\": 1", "stages[0].schedule.steps: 1 is not a whole number from 2 to 100000"),
    ("\"steps\": 5,", "\"steps\": 1001,", "stages[0].sampler: 1001 steps"), ("\"steps\": 5,", "\"steps\": 0,", "stages[0].sampler.steps: "),
    ("\"eta\": 0 ", "\"eta\": 0.5 ", "stages[0].sampler.eta: "), ("\"epsilon\"", "\"eps\"", "stages[0].prediction: "),
    ("\"learned_range\"", "\"fixed_large\"", "stages[0].network: in_channels 3, out_channels 6"),
    ("\"conditioning\": null", "\"conditioning\": { \"upsampling\": \"bilinear\" }", "stages[0].conditioning: the first stage"),
    ("\"bilinear\"", "\"bicubic\"", "stages[1].conditioning.upsampling: \"bicubic\" is not one of \"bilinear\""),
    ("\"sigma_max\": 80", "\"sigma_max\": 0.01", "stages[1].sampler.spacing.sigma_max: 0.01 is not above sigma_min, 0.05"),
    ("\"rho\": 7", "\"rho\": 0", "stages[1].sampler.spacing.rho: 0.0 is not in 1.0 to 100.0"),
    ("\"karras\"", "\"uniform\"", "stages[1].sampler.spacing: unknown key"),
    ("\"karras\"", "\"cosine\"", "stages[1].sampler.spacing.kind: \"cosine\" is not one of \"uniform\", \"karras\""),
    ("\"max_level\": 600", "\"max_level\": 1001", "stages[1].conditioning.augmentation.max_level: 1001 is more than the 1000"),
    ("\"default_level\": 100", "\"default_level\": 601", "default_level: 601 is not a whole number from 0 to 600"),
    ("\"kind\": \"gaussian\"", "\"kind\": \"salt\"", "augmentation.kind: \"salt\" is not one of"),
    ("\"aug_levels\": true", "\"aug_levels\": false", "stages[1].network: aug_levels is false"),
    ("[0.4, 0.6]", "[0.6, 0.4]", "stages[2].conditioning.augmentation.sigma: "),
    ("\"probability\": 0.5", "\"probability\": 1.5", "probability: 1.5 is not in 0.0 to 1.0"),
    ("\"dtype\": \"bf16\"", "\"dtype\": \"f16\"", "stages[0].dtype: "),
    ("\"weight\": 1 }", "\"weight\": -1 }", "stages[0].guidance.weight: -1.0 is not in 0.0 to 100.0"),
    ("\"threshold\": 0.9", "\"threshold\": 1.5", "stages[1].guidance.threshold: threshold 1.5: choose a part"),
    ("\"range\": 100", "\"range\": 0", "stages[0].smoothing.range: 0.0 is not in 0.5 to 255.0"),
    ("\"radius\": 2", "\"radius\": 9", "stages[0].smoothing.radius: 9 is not a whole number from 1 to 8"),
    ("\"rounds\": 2", "\"sigma\": 2", "stages[0].smoothing: unknown key \"sigma\""),
    (
      "\"num_classes\": 3, \"attention", "\"attention",
      "stages[0].guidance: the network knows no labels"
    ),
    ("\"labels\":", "\"labels\"", "cascade.json: not valid JSON: "), ("\"stages\": [", "\"stages\": [ 3,", "stages[0]: "),
  ]) func namesWhatIsWrong(_ find: String, _ replacement: String, _ message: String) throws {
    let pipeline = try TinyPipeline.shared.get().copy()
    defer { pipeline.remove() }
    let range = try #require(TinyPipeline.manifest.range(of: find))
    try pipeline.write(manifest: TinyPipeline.manifest.replacingCharacters(in: range, with: replacement))
    let error = #expect(throws: CascadeError.self) { try Manifest.load(pipeline.directory) }
    #expect(error?.code == .manifest)
    #expect(
      error?.message.contains(pipeline.directory + "/cascade.json: ") == true && error?.message.contains(message) == true, "\(error as Any)"
    )
  }

  @Test func missingFolder() {
    let error = #expect(throws: CascadeError.self) { try Pipeline.load("/nonexistent/pipeline") }
    #expect(error?.code == .unreadable && error?.message.contains("/nonexistent/pipeline/cascade.json") == true)
  }

  @Test func hostileManifests() throws {
    let pipeline = try TinyPipeline.shared.get().copy()
    defer { pipeline.remove() }
    for text in [
      "", "{", "[]", "null", "{}", String(repeating: "[", count: 100_000), "\u{0}", "{\"name\": \"x\", \"labels\": [], \"stages\": []}",
    ] {
      try pipeline.write(manifest: text)
      #expect(throws: CascadeError.self, "\(text.prefix(20))") { try Pipeline.load(pipeline.directory) }
    }
  }
}

@Suite struct PipelineTests {
  @Test func digestIsThatOfTheJoinedFiles() throws {
    let tiny = try TinyPipeline.shared.get()
    let pipeline = try Pipeline.load(tiny.directory)
    var joined = Data()
    for name in ["cascade.json", "base8.safetensors", "sr16.safetensors", "sr64.safetensors"] {
      joined += try Data(contentsOf: URL(fileURLWithPath: tiny.directory + "/" + name))
    }
    #expect(pipeline.digest == sha256(joined))
    let other = try tiny.copy()
    defer { other.remove() }
    #expect(try Pipeline.load(other.directory).digest == pipeline.digest)
    try other.write(manifest: TinyPipeline.manifest + "\n")
    #expect(try Pipeline.load(other.directory).digest != pipeline.digest)
  }

  @Test func labelsByNameOrNumber() throws {
    let manifest = try Manifest.load(TinyPipeline.shared.get().directory)
    #expect(try manifest.label("three sides") == 2 && manifest.label("0") == 0)
    for text in ["", "3", "-1", "Round", "99999999999999999999"] {
      let error = #expect(throws: CascadeError.self) { try manifest.label(text) }
      #expect(error?.message.contains("round, square, three sides") == true)
    }
  }

  @Test func wrongWeights() throws {
    let tiny = try TinyPipeline.shared.get().copy()
    defer { tiny.remove() }
    let pipeline = try Pipeline.load(tiny.directory)
    let path = tiny.directory + "/sr16.safetensors"
    let good = try Data(contentsOf: URL(fileURLWithPath: path))
    func expectError(_ bytes: Data, _ label: Comment) throws {
      try bytes.write(to: URL(fileURLWithPath: path))
      let error = #expect(throws: CascadeError.self, label) { try StageEngine(pipeline, stage: 1) }
      #expect(error?.code == .weights && error?.message.contains("sr16.safetensors") == true, label)
    }
    try expectError(Data(), "empty")
    try expectError(good.prefix(1000), "cut in its header")
    try expectError(good.dropLast(), "cut in its data")
    try expectError(good + [0], "too long")
    try expectError(Data([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]) + good.dropFirst(8), "huge header")
    try expectError(try Data(contentsOf: URL(fileURLWithPath: tiny.directory + "/sr64.safetensors")), "another network's")
    try FileManager.default.removeItem(atPath: path)
    #expect(throws: CascadeError.self) { try StageEngine(pipeline, stage: 1) }
    let error = #expect(throws: CascadeError.self) { try Pipeline.load(tiny.directory) }
    #expect(error?.code == .unreadable && error?.message.contains("sr16.safetensors") == true)
  }
}

@Suite struct SamplingOptionsTests {
  @Test func defaultsAndOverrides() throws {
    let manifest = try Manifest.load(TinyPipeline.shared.get().directory)
    let plain = try SamplingOptions(manifest)
    #expect(plain.stages.map(\.steps) == [5, 4, 3] && plain.stages.map(\.aug) == [0, 100, 0] && !plain.truncated)
    #expect(plain.stages.map(\.kind) == [.ddpm, .dpmSolver2M, .dpmSolver2M])
    let changed = try SamplingOptions(
      manifest,
      overrides: [
        StageOverride(stage: "sr16", steps: 7, sampler: "ddim", eta: 0.5, aug: 0), StageOverride(stage: "base8", steps: 1000, aug: 0),
      ], truncated: true)
    let sr = changed.stages[1]
    #expect(sr.kind == .ddim && sr.steps == 7 && sr.eta == 0.5 && sr.aug == 0)
    #expect(changed.stages[0].steps == 1000 && changed.truncated)
  }

  @Test(arguments: [
    StageOverride(stage: "sr32"), StageOverride(stage: ""), StageOverride(stage: "sr16", steps: 0),
    StageOverride(stage: "sr16", steps: 1001),
    StageOverride(stage: "sr16", sampler: "euler"), StageOverride(stage: "sr16", eta: -0.1), StageOverride(stage: "sr16", eta: .nan),
    StageOverride(stage: "sr16", aug: 601), StageOverride(stage: "sr16", aug: -1), StageOverride(stage: "sr64", aug: 1),
  ]) func refuses(_ override: StageOverride) throws {
    let manifest = try Manifest.load(TinyPipeline.shared.get().directory)
    let error = #expect(throws: CascadeError.self) { try SamplingOptions(manifest, overrides: [override]) }
    #expect(error?.code == .options)
  }
}
