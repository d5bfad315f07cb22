import ArgumentParser
import Cascade
import Diffusion
import Digests
import Foundation
import Images
import Tensors

struct Sample: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Draw images one after the other, without a broker: the reference for every fleet.",
    discussion: """
      Writes OUT/<label>-s<seed>.png. A fleet's image of the same label, seed and options, drawn in the same numerics class, is the same file.
      """)

  @Option(help: "The pipeline's folder, with its cascade.json and weights.")
  var pipeline: String

  @Option(help: ArgumentHelp("A label's name or number, a list a,b,c of them, or all.", valueName: "name"))
  var label: String?

  @Option(help: "Seed of the first image of each label.")
  var seed: UInt64?

  @Option(help: "Images of each label, with the seeds SEED, SEED + 1, …")
  var count: UInt32 = 1

  @Option(help: ArgumentHelp("Lines of label,seed, in place of --label, --seed and --count.", valueName: "file"))
  var samples: String?

  @Option(help: "Folder for the images; it is made if it is not there.")
  var out: String

  @Option(help: ArgumentHelp("Sampler steps: base32=20,sr64=15.", valueName: "stage=n,…"))
  var steps: [String] = []

  @Option(help: ArgumentHelp("ddpm, ddim, dpm++2m or unipc: for every stage, or sr64=ddim,…", valueName: "name"))
  var sampler: [String] = []

  @Option(help: ArgumentHelp("Noise of DDIM, 0 to 1: for every stage, or sr64=0.5,…", valueName: "x"))
  var eta: [String] = []

  @Option(help: ArgumentHelp("Level s of the noise added to a stage's input: sr64=100.", valueName: "stage=s,…"))
  var aug: [String] = []

  @Option(
    help: ArgumentHelp(
      "Weight of classifier-free guidance, 1: none: for every stage that can be guided, or base32=2,…", valueName: "w"))
  var guidance: [String] = []

  @Flag(help: "Stop the first stage at the second's level s instead of noising its output.")
  var truncated = false

  @OptionGroup
  var compute: ComputeOptions

  @Option(help: "f32 or bf16, for every stage (default: the manifest's; f32 where the processor lacks bf16).")
  var dtype: String?

  @Flag(help: "One JSON object on standard output, at the end.")
  var json = false

  func validate() throws {
    guard count >= 1 else { throw ValidationError("--count \(count): at least 1") }
    guard samples == nil ? label != nil && seed != nil : label == nil && seed == nil && count == 1 else {
      throw ValidationError("say which images: --label and --seed, or --samples without them")
    }
    guard dtype == nil || precision != nil else { throw ValidationError("--dtype \(dtype ?? ""): give f32 or bf16") }
  }

  private var precision: DType? { [DType.f32, .bf16].first { $0.rawValue == dtype } }

  func run() throws {
    let manifest = try Manifest.load(pipeline)
    let (wanted, options) = try request(manifest)
    try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)
    let pipeline = try Pipeline.load(pipeline)
    let sampler = try SerialSampler(pipeline, device: Device(compute.device), dtype: precision, threads: compute.threads)
    let showsSteps = isatty(FileHandle.standardError.fileDescriptor) != 0

    var report = Report(
      pipeline: manifest.name, digest: hex(pipeline.digest), numerics: sampler.numerics, images: [])
    for (label, seed) in wanted {
      let name = manifest.labels[label]
      let start = ContinuousClock.now
      let sample = try sampler.sample(label: label, seed: seed, options: options) { stage, step, steps in
        if showsSteps {
          note("\r\u{1B}[K\(name) seed \(seed): \(manifest.stages[stage].name) \(step)/\(steps)")
        }
      }
      let seconds = (ContinuousClock.now - start) / .seconds(1)
      let file = "\(out)/\(name)-s\(seed).png"
      try Data(png(sample.image, label: name, seed: seed, options: options, sampler)).write(
        to: URL(fileURLWithPath: file), options: .atomic)
      let digests = sample.outputs.map { $0.values.withUnsafeBytes { hex(sha256($0)) } }
      report.images.append(
        Report.Image(
          label: name, seed: seed, file: file, digest: digests[digests.count - 1], stageDigests: digests, seconds: seconds,
          stageSeconds: Dictionary(uniqueKeysWithValues: zip(manifest.stages.map(\.name), sample.stageSeconds))))
      let time = String(format: "%.2f s", seconds)
      note("\(showsSteps ? "\r\u{1B}[K" : "")\(report.images.count)/\(wanted.count) \(file) \(time)\n")
    }
    guard json else { return }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    print(String(decoding: try encoder.encode(report), as: UTF8.self))
  }

  /// What the flags ask for; a wrong one is a usage error.
  private func request(_ manifest: Manifest) throws -> (images: [(label: Int, seed: UInt64)], options: SamplingOptions) {
    let lines = try samples.map { try String(contentsOfFile: $0, encoding: .utf8).split(whereSeparator: \.isNewline) }
    do throws(CascadeError) {
      var images: [(label: Int, seed: UInt64)] = []
      for line in lines ?? [] {
        let cells = line.split(separator: ",", omittingEmptySubsequences: false)
        guard cells.count == 2, let seed = UInt64(cells[1]) else {
          throw CascadeError(.options, "--samples: '\(line.prefix(80))' is not label,seed with a seed from 0 to \(UInt64.max)")
        }
        images.append((try manifest.label(String(cells[0])), seed))
      }
      if let label, let seed {
        var labels = Array(manifest.labels.indices)
        if label != "all" {
          labels = []
          for name in label.split(separator: ",", omittingEmptySubsequences: false) { labels.append(try manifest.label(String(name))) }
        }
        for label in labels { for offset in 0..<UInt64(count) { images.append((label, seed &+ offset)) } }
      }
      return (images, try SamplingOptions(manifest, overrides: try overrides(manifest), truncated: truncated))
    } catch {
      throw ValidationError(error.message)
    }
  }

  private func png(_ image: NamedArray, label: String, seed: UInt64, options: SamplingOptions, _ sampler: SerialSampler) throws -> [UInt8] {
    let manifest = sampler.pipeline.manifest
    let stages = zip(manifest.stages, options.stages).map {
      StageText(
        stage: $0.name, sampler: $1.kind.rawValue, steps: $1.steps, eta: $1.eta, aug: $1.aug, guidance: $1.guidance?.weight ?? 1)
    }
    return try RGBImage(chw: image.values, width: image.shape[2], height: image.shape[1]).png(
      text: imageMetadata(
        label: label, seed: seed, pipeline: manifest.name, digest: hex(sampler.pipeline.digest), stages: stages,
        truncated: options.truncated, numerics: sampler.numerics))
  }

  /// The sampler flags, a stage at a time.
  private func overrides(_ manifest: Manifest) throws(CascadeError) -> [StageOverride] {
    let names = manifest.stages.map(\.name)
    let steps = try StageValues("--steps", steps, stages: nil) { Int($0) }
    let samplers = try StageValues("--sampler", sampler, stages: names) { $0 }
    let etas = try StageValues("--eta", eta, stages: names) { Double($0) }
    let augs = try StageValues("--aug", aug, stages: nil) { Int($0) }
    let guided = manifest.stages.filter { $0.guidance != nil }.map(\.name)
    let weights = try StageValues("--guidance", guidance, stages: guided) { Double($0) }
    let given = Set(steps.values.keys).union(samplers.values.keys).union(etas.values.keys).union(augs.values.keys).union(
      weights.values.keys)
    return given.sorted().map {
      StageOverride(
        stage: $0, steps: steps.values[$0], sampler: samplers.values[$0], eta: etas.values[$0], aug: augs.values[$0],
        guidance: weights.values[$0])
    }
  }

  private struct Report: Encodable {
    struct Image: Encodable {
      let label: String
      let seed: UInt64
      let file: String
      /// SHA-256 of the last stage's f32 output, before it becomes 8-bit.
      let digest: String
      /// The same of every stage's, in order.
      let stageDigests: [String]
      let seconds: Double
      let stageSeconds: [String: Double]
    }

    let pipeline, digest, numerics: String
    var images: [Image]
  }
}

private func note(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
