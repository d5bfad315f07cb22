import Diffusion
import Foundation
import Testing

@testable import Training

@Suite struct BatchTests {
  /// Images made by a rule: (3, 16, 16).
  struct Pictures: PixelSource {
    let side = 16
    let count = 5
    func label(_ index: Int) -> Int { index % 2 }
    func path(_ index: Int) -> String { "\(label(index))/\(index).png" }
    func image(_ index: Int) throws(TrainingError) -> (planes: [Float], label: Int) {
      ((0..<768).map { sin(Float($0 * (index + 1)) * 0.05) }, label(index))
    }
  }

  @Test func examplesDoNotDependOnTheBatch() throws {
    let schedule = try Schedule(.cosine, steps: 100)
    let setting = try tinySuperResolution(lowRes: .gaussian(maxLevel: 60, level: 10, schedule: schedule))
    var recipe = Recipe(batch: 6)
    recipe.flip = true
    recipe.labelDrop = 0.5
    var six = BatchMaker(setting: setting, source: Pictures(), recipe: recipe)
    recipe.batch = 2
    var two = BatchMaker(setting: setting, source: Pictures(), recipe: recipe)
    let whole = try six.batch(first: 6)
    let parts = try [6, 8, 10].map { try two.batch(first: $0) }
    #expect(whole.x0 == parts.flatMap(\.x0))
    #expect(whole.noise == parts.flatMap(\.noise))
    #expect(whole.lowRes == parts.flatMap(\.lowRes))
    #expect(whole.levels == parts.flatMap(\.levels))
    #expect(whole.timesteps == parts.flatMap(\.timesteps))
    #expect(whole.labels == parts.flatMap(\.labels))
  }

  @Test func labelsAreDroppedAsOftenAsAskedAndNothingElseChanges() throws {
    let schedule = try Schedule(.cosine, steps: 100)
    let setting = try tinySuperResolution(lowRes: .gaussian(maxLevel: 60, level: 10, schedule: schedule))
    func batch(_ part: Double) throws -> Batch {
      var recipe = Recipe(batch: 100)
      recipe.flip = true
      recipe.labelDrop = part
      var maker = BatchMaker(setting: setting, source: Pictures(), recipe: recipe)
      return try maker.batch(first: 0)
    }
    let (all, some, none) = (try batch(0), try batch(0.25), try batch(1))
    #expect(all.labels.allSatisfy { $0 != nil } && none.labels.allSatisfy { $0 == nil })
    // 25 expected, of a standard deviation of 4.3.
    #expect((8...42).contains(some.labels.count { $0 == nil }))
    for (dropped, label) in zip(some.labels, all.labels) { #expect(dropped == nil || dropped == label) }
    #expect(some.x0 == all.x0 && some.noise == all.noise && some.timesteps == all.timesteps)
    #expect(some.lowRes == all.lowRes && some.levels == all.levels)
  }

  /// Of images that have inputs drawn anew, as many examples as asked for get them; flips apply to both, and nothing else changes.
  @Test func redrawnInputsTakeTheAveragesPlace() throws {
    let folder = try TemporaryFolder()
    // Pictures has 0/0, 1/1, 0/2, 1/3 and 0/4; there are no inputs of 1/3 and 0/4.
    let labels = ["0", "1"]
    try makeData(in: folder.path, labels: labels, count: 3, side: 8)
    let redrawn = try RedrawnInputs(root: folder.path, labels: labels, side: 8, path: "\(folder.path)/cache") { _ in }
    let setting = try tinySuperResolution(labels, lowRes: .plain)
    func batch(_ part: Double) throws -> Batch {
      var recipe = Recipe(batch: 100)
      recipe.flip = true
      recipe.redrawn = part
      var maker = BatchMaker(setting: setting, source: Pictures(), redrawn: redrawn, recipe: recipe)
      return try maker.batch(first: 0)
    }
    let (none, some, all) = (try batch(0), try batch(0.5), try batch(1))
    var order = EpochOrder(count: 5, seed: 0)
    let size = 3 * 8 * 8
    func low(_ batch: Batch, _ example: Int) -> [Float] { Array(batch.lowRes[example * size..<(example + 1) * size]) }
    var mixed = 0
    for example in 0..<100 {
      let index = order.index(ofExample: UInt64(example))
      let drawn = try redrawn.input(of: Pictures().path(index))
      #expect((drawn != nil) == (index < 3))
      let average = low(none, example)
      let isFlipped = try Array(all.x0[example * 768..<(example + 1) * 768]) != Pictures().image(index).planes
      #expect(low(all, example) == drawn.map { isFlipped ? Resampling.flipped($0, side: 8) : $0 } ?? average, "example \(example)")
      #expect([average, low(all, example)].contains(low(some, example)), "example \(example)")
      if drawn != nil, low(some, example) != average { mixed += 1 }
    }
    // 60 examples of images that have one: 30 expected, of a standard deviation of 3.9.
    #expect((10...50).contains(mixed))
    #expect(none.x0 == all.x0 && none.noise == all.noise && none.timesteps == all.timesteps && none.labels == all.labels)
  }

  @Test func levelZeroIsClean() throws {
    let schedule = try Schedule(.cosine, steps: 100)
    let setting = try tinySuperResolution(lowRes: .gaussian(maxLevel: 0, level: 0, schedule: schedule))
    var maker = BatchMaker(setting: setting, source: Pictures(), recipe: Recipe(batch: 1))
    let batch = try maker.batch(first: 0)
    #expect(batch.levels == [0])
    #expect(batch.lowRes == Resampling.boxAverage(batch.x0, side: 16, factor: 2))
  }

  @Test func levelsStayBelowTheRecipesHighest() throws {
    let schedule = try Schedule(.cosine, steps: 100)
    let setting = try tinySuperResolution(lowRes: .gaussian(maxLevel: 60, level: 10, schedule: schedule))
    var recipe = Recipe(batch: 64)
    recipe.maxLevel = 5
    var maker = BatchMaker(setting: setting, source: Pictures(), recipe: recipe)
    #expect(try Set(maker.batch(first: 0).levels) == Set(0...5))
  }

  @Test func noisedLowResHasItsLevelsVariance() throws {
    let schedule = try Schedule(.cosine, steps: 100)
    let setting = try tinySuperResolution(lowRes: .gaussian(maxLevel: 100, level: 10, schedule: schedule))
    var maker = BatchMaker(setting: setting, source: Pictures(), recipe: Recipe(batch: 64))
    let batch = try maker.batch(first: 0)
    #expect(Set(batch.levels).count > 30)
    #expect(batch.levels.allSatisfy { (0...100).contains($0) })
    let size = 3 * 8 * 8
    for i in 0..<64 where batch.levels[i] > 0 {
      let clean = Resampling.boxAverage(Array(batch.x0[i * 768..<(i + 1) * 768]), side: 16, factor: 2)
      let alphaBar = schedule.alphaBars[batch.levels[i] - 1]
      let residues = (0..<size).map { batch.lowRes[i * size + $0] - Float(alphaBar.squareRoot()) * clean[$0] }
      let variance = residues.reduce(0) { $0 + $1 * $1 } / Float(size)
      // 192 squares of normals: six standard deviations are 0.61 of the variance.
      #expect(abs(Double(variance) - (1 - alphaBar)) < 0.62 * (1 - alphaBar), "level \(batch.levels[i])")
    }
  }

  @Test func windowsAndTheirLowResAgree() throws {
    var setting = try tinySuperResolution(lowRes: .plain)
    setting.lowResolution = 4
    var recipe = Recipe(batch: 8)
    recipe.crop = 8
    var maker = BatchMaker(setting: setting, source: Pictures(), recipe: recipe)
    let batch = try maker.batch(first: 0)
    #expect(batch.side == 8 && batch.lowSide == 8)
    #expect(batch.x0.count == 8 * 3 * 64 && batch.lowRes.count == batch.x0.count)
    var order = EpochOrder(count: 5, seed: 0)
    var corners: Set<Int> = []
    for i in 0..<8 {
      let (image, _) = try Pictures().image(order.index(ofExample: UInt64(i)))
      let low = Resampling.boxAverage(image, side: 16, factor: 4)
      let own = Array(batch.x0[i * 192..<(i + 1) * 192])
      let corner = (0..<81).first { Resampling.window(image, side: 16, top: $0 / 9, left: $0 % 9, height: 8, width: 8) == own }
      let found = try #require(corner, "example \(i) is not a window of its image")
      corners.insert(found)
      let enlarged = Resampling.bilinearWindow(low, side: 4, target: 16, top: found / 9, left: found % 9, height: 8, width: 8)
      #expect(Array(batch.lowRes[i * 192..<(i + 1) * 192]) == enlarged)
    }
    #expect(corners.count > 1)
  }

  @Test func normalsAreNormalAndPurposesDiffer() {
    let random = ExampleRandom(seed: 7, example: 1 << 40)
    let values = random.normals(40_000, .noise)
    let mean = values.reduce(0, +) / 40_000
    let variance = values.reduce(0) { $0 + $1 * $1 } / 40_000
    #expect(abs(mean) < 0.03 && abs(variance - 1) < 0.05)
    #expect(random.normals(8, .lowResNoise) != Array(values.prefix(8)))
    #expect(ExampleRandom(seed: 7, example: 0).normals(8, .noise) != Array(values.prefix(8)))
    #expect(random.normals(5, .noise) == Array(values.prefix(5)))
  }

  @Test func queueGivesBatchesInOrderAndErrorsAtTheirPlace() throws {
    struct Failing: PixelSource {
      let side = 16
      let count = 3
      func label(_ index: Int) -> Int { 0 }
      func path(_ index: Int) -> String { "\(index).png" }
      func image(_ index: Int) throws(TrainingError) -> (planes: [Float], label: Int) { throw TrainingError(.data, "broken \(index)") }
    }
    let setting = try tinySetting()
    let queue = BatchQueue(
      maker: BatchMaker(setting: setting, source: Pictures(), recipe: Recipe(batch: 2)), firstExample: 4,
      share: StepShare(batch: 2, accumulate: 3))
    var maker = BatchMaker(setting: setting, source: Pictures(), recipe: Recipe(batch: 2))
    for step in 0..<6 {
      let firsts = [0, 2, 4].map { UInt64(4 + 6 * step + $0) }
      #expect(try queue.next().map(\.noise) == firsts.map { try maker.batch(first: $0).noise })
    }
    queue.stop()
    let failing = BatchQueue(
      maker: BatchMaker(setting: setting, source: Failing(), recipe: Recipe(batch: 1)), firstExample: 0,
      share: StepShare(batch: 1, accumulate: 1))
    let error = #expect(throws: TrainingError.self) { try failing.next() }
    #expect(error?.message.hasPrefix("broken") == true)
    failing.stop()
  }
}
