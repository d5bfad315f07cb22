import Diffusion
import Foundation
import Images
import Tensors
import Testing
import UNet

@testable import Training

@Suite(.serialized) struct TrainerTests {
  private func folder(images: Int = 3) throws -> TemporaryFolder {
    let folder = try TemporaryFolder()
    try makeData(in: "\(folder.path)/data", labels: ["a", "b"], count: images, side: 16)
    return folder
  }

  @Test func lossFallsOnOneImage() throws {
    let folder = try folder(images: 1)
    var recipe = Recipe(batch: 8)
    recipe.learningRate = 2e-3
    recipe.warmup = 5
    let trainer = try tinyTrainer(folder, recipe: recipe) { $0.maxSteps = 40 }
    try trainer.run { false }
    let lines = try metrics(folder)
    #expect(lines.map(\.step) == [20, 40])
    #expect(lines[1].loss < 0.7 * lines[0].loss, "losses \(lines.map(\.loss))")
    #expect(lines[1].samples == 320)
  }

  /// Six steps in one go, and three, a new process's worth of objects, three more: equal to the last bit.
  @Test(arguments: [false, true]) func resumedRunTakesTheVerySameSteps(superResolution: Bool) throws {
    let folder = try folder()
    let schedule = try Schedule(.cosine, steps: 100)
    let setting =
      superResolution
      ? try tinySuperResolution(lowRes: .gaussian(maxLevel: 50, level: 10, schedule: schedule)) : try tinySetting(learned: true)
    let network = try tinyNetwork(learned: !superResolution, superResolution: superResolution, levels: superResolution, dropout: 0.2)
    var recipe = Recipe(batch: 2)
    recipe.warmup = 2
    recipe.decay = true
    recipe.labelDrop = 0.5
    recipe.accumulate = 2
    recipe.seed = 11

    let straight = try tinyTrainer(folder, run: "straight", setting: setting, network: network, recipe: recipe) { $0.maxSteps = 6 }
    try straight.run { false }
    let first = try tinyTrainer(folder, run: "parts", setting: setting, network: network, recipe: recipe) { $0.maxSteps = 6 }
    try first.run { first.state.step == 3 }
    #expect(first.state.step == 3)
    let second = try tinyTrainer(folder, run: "parts", setting: setting, network: network, recipe: recipe) {
      $0.maxSteps = 6
      $0.resume = true
    }
    #expect(second.state == first.state)
    try second.run { false }
    #expect(second.state.step == 6 && second.state.examples == 24)
    #expect(try weights(second) == weights(straight))
    #expect(try weights(second) != weights(first))
  }

  /// Three batches of two a step are one of six, but for the order of sums; with a learned variance, whose loss has two parts.
  @Test func accumulatedBatchesEqualOneLargeBatch() throws {
    let folder = try folder()
    func train(_ run: String, batch: Int, accumulate: Int) throws -> Trainer {
      var recipe = Recipe(batch: batch)
      recipe.accumulate = accumulate
      recipe.warmup = 0
      let trainer = try tinyTrainer(
        folder, run: run, setting: tinySetting(side: 8, learned: true),
        network: tinyNetwork(side: 8, channels: 64, mult: [1], learned: true),
        recipe: recipe
      ) { $0.maxSteps = 8 }
      try trainer.run { false }
      return trainer
    }
    let whole = try train("whole", batch: 6, accumulate: 1)
    let parts = try train("parts", batch: 2, accumulate: 3)
    #expect(parts.state.examples == whole.state.examples && parts.state.examples == 48)
    #expect(try distance(weights(whole), weights(parts)) < 1e-5)
    #expect(try agree(metrics(folder, run: "whole"), metrics(folder, run: "parts")))
  }

  /// All that is trained without labels leaves the table of labels as it was.
  @Test(arguments: [0.0, 1.0]) func labelsLearnOnlyWhereTheyAreNotDropped(part: Double) throws {
    let folder = try folder()
    var recipe = Recipe(batch: 2)
    recipe.warmup = 0
    recipe.labelDrop = part
    // The zeroed layers let no gradient through to the labels before the third step.
    let trainer = try tinyTrainer(folder, recipe: recipe) { $0.maxSteps = 4 }
    let table = try #require(trainer.network.parameters.first { $0.name == "label_emb.weight" }?.tensor)
    let before = try table.floats()
    try trainer.run { false }
    let after = try table.floats()
    #expect((after == before) == (part == 1))
  }

  @Test func theAverageFollowsTheWeights() throws {
    let folder = try folder()
    var recipe = Recipe(batch: 2)
    recipe.warmup = 0
    recipe.averaging = 0.5
    let trainer = try tinyTrainer(folder, recipe: recipe)
    var maker = BatchMaker(
      setting: trainer.setting,
      source: try DecodingSource(
        folder: DataFolder(root: "\(folder.path)/data", labels: ["a", "b"]), side: 16, path: "\(folder.path)/found"
      ) { _ in },
      recipe: recipe)
    let name = "out.2.bias"
    func values(_ network: UNet) throws -> [Float] { try #require(network.parameters.first { $0.name == name }?.tensor).floats() }
    var expected = try values(trainer.average)
    for update in 1...3 {
      try trainer.step([maker.batch(first: trainer.state.examples)])
      let old = Float(min(0.5, (1 + Double(update)) / (10 + Double(update))))
      expected = zip(expected, try values(trainer.network)).map { old * $0 + (1 - old) * $1 }
      for (found, wanted) in zip(try values(trainer.average), expected) { #expect(abs(found - wanted) < 1e-6) }
    }
    #expect(try values(trainer.average) != values(trainer.network))
  }

  @Test func aRunIsNotOverwrittenAndNotMixedUp() throws {
    let folder = try folder()
    try tinyTrainer(folder) { $0.maxSteps = 1 }.run { false }
    #expect(throws: TrainingError.self) { try tinyTrainer(folder) }
    var recipe = Recipe(batch: 2)
    recipe.seed = 9
    let seed = #expect(throws: TrainingError.self) { try tinyTrainer(folder, recipe: recipe) { $0.resume = true } }
    #expect(seed?.message.contains("--seed 0") == true)
    var other = try tinySetting()
    other.name = "other"
    let stage = #expect(throws: TrainingError.self) { try tinyTrainer(folder, setting: other) { $0.resume = true } }
    #expect(stage?.message.contains("tiny") == true)
    let nothing = #expect(throws: TrainingError.self) { try tinyTrainer(folder, run: "new") { $0.resume = true } }
    #expect(nothing?.code == .checkpoint)
    let network = #expect(throws: TrainingError.self) {
      try tinyTrainer(folder, network: tinyNetwork(classes: 5)) { $0.resume = true }
    }
    #expect(network?.message.contains("label_emb.weight") == true)
  }

  @Test func aTornCheckpointIsNeverTaken() throws {
    let folder = try folder()
    let first = try tinyTrainer(folder) { $0.maxSteps = 1 }
    try first.run { false }
    let store = CheckpointStore(folder: "\(folder.path)/run")
    let bytes = try #require(FileManager.default.contents(atPath: store.newest))

    // A write that was cut off leaves its own file; the run goes on from the complete one.
    try RunFile.write([UInt8](bytes.prefix(bytes.count / 2)), to: "\(store.newest).new")
    let second = try tinyTrainer(folder) {
      $0.maxSteps = 2
      $0.resume = true
    }
    #expect(second.state.step == 1)
    try second.run { false }
    #expect(FileManager.default.contents(atPath: store.previous) == bytes, "the one before is kept")

    // Damage from outside: the one before is taken, and said so.
    let newest = try #require(FileManager.default.contents(atPath: store.newest))
    try RunFile.write([UInt8](newest.prefix(newest.count - 5)), to: store.newest)
    let messages = Messages()
    let third = try tinyTrainer(folder, messages: messages) { $0.resume = true }
    #expect(third.state.step == 1)
    #expect(messages.all.contains { $0.contains("going on from \(store.previous)") })

    try RunFile.write([1, 2, 3], to: store.newest)
    try RunFile.write([], to: store.previous)
    let error = #expect(throws: TrainingError.self) { try tinyTrainer(folder) { $0.resume = true } }
    #expect(error?.message.contains(store.newest) == true && error?.message.contains(store.previous) == true)
  }

  @Test func metricsOfACutOffSessionAreDropped() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/metrics.jsonl"
    func line(_ step: Int) -> MetricsLog.Line {
      MetricsLog.Line(step: step, samples: 1, loss: 0.5, gradNorm: 1, lr: 1, samplesPerSecond: 2, seconds: 3)
    }
    let first = try MetricsLog(path: path, after: 0)
    for step in [20, 40, 60] { try first.append(line(step)) }
    let second = try MetricsLog(path: path, after: 40)
    try second.append(line(45))
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
    #expect(lines.count == 3 && lines[2].contains("\"step\":45") && lines[2].contains("\"samples_per_s\":2"))
  }

  @Test func plotsShowMeansOfManyLines() throws {
    let lines = (1...5_000).map {
      MetricsLog.Line(
        step: 20 * $0, samples: 1, loss: 2 + ($0.isMultiple(of: 2) ? 0.5 : -0.5), gradNorm: 7, lr: 1, samplesPerSecond: 2, seconds: 3)
    }
    let files = MetricsPlots(title: "base", lines: lines).files
    #expect(files.map(\.name) == ["loss.svg", "grad_norm.svg"])
    for (file, last) in zip(files, [2.0, 7]) {
      let points = file.svg.components(separatedBy: "<circle").count - 1
      #expect((20...60).contains(points), "\(file.name): \(points)")
      // The label of the last one: 100,000 steps lie in some 8,000.
      let labels = file.svg.components(separatedBy: "<title>").dropFirst().map { $0.prefix { $0 != "<" } }
      let value = labels.last?.split(separator: " ").last.flatMap { Double($0) } ?? 0
      #expect(abs(value - last) < 0.05, "\(file.name): \(labels.last ?? "")")
    }
    #expect(MetricsPlots(title: "base", lines: []).files.isEmpty)
    #expect(MetricsPlots(title: "base", lines: [lines[0]]).files.count == 2)
  }

  @Test func exportedWeightsStartANewRunAndSheetsAreDrawn() throws {
    let folder = try folder()
    let exported = "\(folder.path)/tiny.safetensors"
    let trainer = try tinyTrainer(folder) {
      $0.maxSteps = 2
      $0.export = exported
      $0.sampleEvery = 2
      $0.dtype = .bf16
    }
    try trainer.run { false }
    let sheet = try RGBImage(png: [UInt8](#require(FileManager.default.contents(atPath: "\(folder.path)/run/grid-2.png"))))
    #expect(sheet.width == 8 * 18 + 2 && sheet.height == 2 * 18 + 2)
    for name in ["loss.svg", "grad_norm.svg"] {
      let svg = try String(contentsOfFile: "\(folder.path)/run/\(name)", encoding: .utf8)
      #expect(svg.contains("<polyline") && svg.contains("tiny, step 2"), "\(name)")
    }
    let started = try tinyTrainer(folder, run: "second") { $0.initialWeights = exported }
    for ((name, wanted), (_, found)) in zip(trainer.average.parameters, started.network.parameters) {
      for (a, b) in zip(try wanted.floats(), try found.floats()) {
        #expect(abs(a - b) <= abs(a) / 256, "\(name)")
      }
    }
    let wrong = #expect(throws: TrainingError.self) {
      try tinyTrainer(folder, run: "third", network: tinyNetwork(superResolution: true, levels: true)) { $0.initialWeights = exported }
    }
    #expect(wrong?.message.contains("aug_embed") == true)
  }

  @Test func superResolutionTrainsOnWindowsAndShowsItsInput() throws {
    let folder = try folder()
    var recipe = Recipe(batch: 2)
    recipe.crop = 8
    let trainer = try tinyTrainer(
      folder, setting: tinySuperResolution(lowRes: .blur(sigma: 0.4...0.6, probability: 0.5)), network: tinyNetwork(superResolution: true),
      recipe: recipe
    ) {
      $0.maxSteps = 2
      $0.sampleEvery = 2
    }
    try trainer.run { false }
    let sheet = try RGBImage(png: [UInt8](#require(FileManager.default.contents(atPath: "\(folder.path)/run/grid-2.png"))))
    #expect(sheet.width == 24 * 18 + 2 && sheet.height == 2 * 18 + 2)
  }
}
