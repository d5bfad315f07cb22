import ArgumentParser
import Cascade
import Diffusion
import Digests
import Evaluation
import Foundation
import Images
import Plots
import Tensors
import Training

struct Sweep: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure one stage's samples for every sampler, number of steps and level s that it is asked for.",
    discussion: """
      Every setting draws the same samples, the labels in turn. OUT/sweep.jsonl gets a line a setting: KID and FID to the real images in the stage's \
      size, for a super-resolution stage fed real images PSNR and SSIM to what they were made from, and the seconds a sample took. OUT/sweep.svg plots KID, \
      OUT/<setting>.png shows the first samples. A setting that is in sweep.jsonl already is not drawn again, so the same command goes on after an \
      interruption.
      """)

  enum Inputs: String, ExpressibleByArgument, CaseIterable, Codable { case real, generated }

  @Option(help: "The pipeline's folder, with its cascade.json and weights.")
  var pipeline: String

  @Option(help: ArgumentHelp("The stage.", valueName: "name"))
  var stage: String

  @Option(help: "Real images that it was not trained on: DATA/<label>/*.png.")
  var data: String

  @Option(help: ArgumentHelp("EfficientNet-Lite0's weights; ops/data/make-feature-net makes the file.", valueName: "net"))
  var features: String

  @Option(help: "Folder of the results; it is made if it is not there.")
  var out: String

  @Option(help: ArgumentHelp("Samplers: ddpm, ddim, dpm++2m, unipc (default: the stage's).", valueName: "name,…"))
  var sampler: String?

  @Option(help: ArgumentHelp("Numbers of steps (default: the stage's).", valueName: "n,…"))
  var steps: String?

  @Option(help: ArgumentHelp("Levels s of the noise added to the stage's input (default: the stage's).", valueName: "s,…"))
  var aug: String?

  @Option(help: "What a super-resolution stage enlarges: real images, or those that the stages below generate.")
  var inputs = Inputs.real

  @Option(help: "Samples of a setting, at least 2.")
  var count = 240

  @Option(help: "Samples of each real image that a super-resolution stage enlarges; PSNR is also that of their mean, the posterior's.")
  var draws = 1

  @Option(help: "Seed of the first sample.")
  var seed: UInt64 = 1_000_000

  @OptionGroup
  var stepping: SteppingOptions

  func validate() throws {
    guard count >= 2 else { throw ValidationError("--count \(count): at least 2") }
    guard (1...256).contains(draws) else { throw ValidationError("--draws \(draws): give 1 to 256") }
    guard draws == 1 || inputs == .real else {
      throw ValidationError("--draws \(draws): what generated images were made from nobody knows")
    }
    for (flag, list) in [("--steps", steps), ("--aug", aug)] {
      for item in list?.split(separator: ",", omittingEmptySubsequences: false) ?? [] where Int(item) == nil {
        throw ValidationError("\(flag) \(list ?? ""): \"\(item)\" is not a whole number")
      }
    }
  }

  private var drawsIfSeveral: Int? { draws > 1 ? draws : nil }

  func run() throws {
    let pipeline = try Pipeline.load(pipeline)
    let manifest = pipeline.manifest
    let index = try manifest.stage(named: stage)
    guard draws == 1 || index > 0 else { throw ValidationError("--draws \(draws): \(stage) enlarges nothing") }
    let settings = try settings(manifest, index)
    try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)
    let path = "\(out)/sweep.jsonl"
    var results = try SweepResult.read(path)
    let digest = hex(pipeline.digest)
    var known: [SweepResult] {
      results.filter {
        $0.pipeline == digest && $0.count == count && $0.draws == drawsIfSeveral && $0.seed == seed && $0.data == data
          && settings.contains($0.setting)
      }
    }
    let open = settings.filter { setting in !known.contains { $0.setting == setting } }
    if !open.isEmpty {
      let net = try EfficientNetLite(weights: features)
      let real = try RealImages(ImageFolder(data, classes: manifest.labels), side: manifest.stages[index].resolution, net: net)
      let requests = try requests(pipeline, index, real)
      let engine = try StageEngine(pipeline, stage: index, device: Device(stepping.compute.device), threads: stepping.compute.threads)
      for setting in open {
        let result = try measure(engine, setting, requests, real, net, digest)
        results.append(result)
        try SweepResult.append(result, to: path)
        print(result.line)
      }
    }
    let isOverSteps = Set(settings.map(\.steps)).count > 1 || Set(settings.map(\.aug)).count == 1
    let curves = Dictionary(grouping: known) { isOverSteps ? $0.setting.curveOverSteps : $0.setting.curveOverAug }
    let plot = LinePlot(
      title: "\(manifest.name) \(stage), \(count) samples", xName: isOverSteps ? "steps" : "s + 1", yName: "KID",
      series: curves.sorted { $0.key < $1.key }.map { name, results in
        LinePlot.Series(name: name, points: results.map { (Double(isOverSteps ? $0.setting.steps : $0.setting.aug + 1), $0.kid) })
      })
    try Data(plot.svg.utf8).write(to: URL(fileURLWithPath: "\(out)/sweep.svg"), options: .atomic)
  }

  /// Every combination of what was asked for.
  private func settings(_ manifest: Manifest, _ index: Int) throws -> [SweepSetting] {
    let defaults = manifest.stages[index]
    func numbers(_ list: String?, _ fallback: Int) -> [Int] { list?.split(separator: ",").compactMap { Int($0) } ?? [fallback] }
    let samplers = sampler?.split(separator: ",", omittingEmptySubsequences: false).map(String.init) ?? [defaults.sampler.kind.rawValue]
    var settings: [SweepSetting] = []
    for sampler in samplers {
      for steps in numbers(steps, defaults.sampler.steps) {
        for aug in numbers(aug, defaults.defaultAug) {
          let setting = SweepSetting(stage: stage, sampler: sampler, steps: steps, aug: aug, inputs: index == 0 ? nil : inputs)
          do { _ = try setting.options(manifest) } catch { throw ValidationError(error.message) }
          settings.append(setting)
        }
      }
    }
    return settings
  }

  /// The samples that every setting draws: the labels in turn, each with the next of its real images, or with what the stages below make of it.
  private func requests(_ pipeline: Pipeline, _ index: Int, _ real: RealImages) throws -> [StageEngine.Request] {
    let labels = pipeline.manifest.labels.count
    let wanted = (0..<count).map { (label: $0 % labels, seed: seed &+ UInt64($0)) }
    guard index > 0 else { return wanted.map { StageEngine.Request(label: $0.label, seed: $0.seed) } }
    if inputs == .real {
      let low = pipeline.manifest.stages[index - 1].resolution
      return try wanted.enumerated().map {
        try StageEngine.Request(label: $1.label, seed: $1.seed, input: real.planes($0, $1.label, side: low))
      }
    }
    var below = wanted.map { StageEngine.Request(label: $0.label, seed: $0.seed) }
    for stage in 0..<index {
      let engine = try StageEngine(pipeline, stage: stage, device: Device(stepping.compute.device), threads: stepping.compute.threads)
      let outputs = try engine.samples(below, options: SamplingOptions(pipeline.manifest), batch: stepping.batch) {
        ProgressLine.show("\(pipeline.manifest.stages[stage].name): \($0) of \(count)")
      }
      below = zip(wanted, outputs).map { StageEngine.Request(label: $0.label, seed: $0.seed, input: $1) }
    }
    return below
  }

  private func measure(
    _ engine: StageEngine, _ setting: SweepSetting, _ requests: [StageEngine.Request], _ real: RealImages, _ net: EfficientNetLite,
    _ digest: String
  ) throws -> SweepResult {
    let manifest = engine.pipeline.manifest
    let side = manifest.stages[engine.stage].resolution
    let start = ContinuousClock.now
    let outputs = try engine.samples(requests, options: setting.options(manifest), batch: stepping.batch) {
      ProgressLine.show("\(setting.name): \($0) of \(count)")
    }
    let seconds = (ContinuousClock.now - start) / .seconds(1)
    let mean = try mean(outputs, engine, setting, requests)
    let images = outputs.map { RGBImage(chw: $0, width: side, height: side) }
    try Data(RGBImage.grid(Array(images.prefix(4 * manifest.labels.count)), columns: manifest.labels.count).png()).write(
      to: URL(fileURLWithPath: "\(out)/\(setting.name).png"), options: .atomic)
    let generated = try net.features(of: images) { $0 }
    var psnr: Double?
    var psnrOfMean: Double?
    var ssim: Double?
    if setting.inputs == .real {
      let originals = try outputs.indices.map { try real.planes($0, requests[$0].label, side: side) }
      psnr = Self.mean(zip(outputs, originals).map { ImageSimilarity.psnr($0, $1) })
      psnrOfMean = mean.flatMap { Self.mean(zip($0, originals).map { ImageSimilarity.psnr($0, $1) }) }
      ssim = Self.mean(zip(images, originals).compactMap { ImageSimilarity.ssim($0, RGBImage(chw: $1, width: side, height: side)) })
    }
    return SweepResult(
      setting: setting, pipeline: digest, data: data, count: count, draws: drawsIfSeveral, seed: seed,
      kid: try KernelDistance(real.features, generated, size: nil).mean, fid: try frechetDistance(real.features, generated), psnr: psnr,
      psnrOfMean: psnrOfMean, ssim: ssim, secondsPerSample: seconds / Double(count))
  }

  /// The mean of `draws` samples of each request, of which `first` are the first; `nil` if that is all.
  private func mean(
    _ first: [[Float]], _ engine: StageEngine, _ setting: SweepSetting, _ requests: [StageEngine.Request]
  ) throws -> [[Float]]? {
    guard draws > 1 else { return nil }
    var sums = first
    for draw in 1..<draws {
      // Seeds of other draws lie beyond those of this one.
      let again = requests.map { StageEngine.Request(label: $0.label, seed: $0.seed &+ UInt64(draw * count), input: $0.input) }
      let outputs = try engine.samples(again, options: setting.options(engine.pipeline.manifest), batch: stepping.batch) {
        ProgressLine.show("\(setting.name), draw \(draw + 1) of \(draws): \($0) of \(count)")
      }
      for (index, output) in outputs.enumerated() {
        for number in output.indices { sums[index][number] += output[number] }
      }
    }
    return sums.map { $0.map { $0 / Float(draws) } }
  }

  private static func mean(_ values: [Double]) -> Double? { values.isEmpty ? nil : values.reduce(0, +) / Double(values.count) }
}
