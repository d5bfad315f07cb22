import ArgumentParser
import Cascade
import Evaluation
import Foundation
import Images
import Tensors
import Training

struct Redraw: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Draw training images anew, with the flaws that a stage's own have: inputs to train the next stage on.",
    discussion: """
      Each image is noised to where the stage has some steps left, and the stage takes those. The result lies near the image, the nearer the fewer \
      steps were left. With several stages, each is shown what the one below it made; the first is shown the real image in its input's size.

      Writes OUT/<class>/<name>.png for DATA/<class>/<name>.png in the last stage's size, for 'train --redrawn OUT' of the stage above. A file that is \
      there already is not drawn again, so the same command goes on after an interruption.
      """)

  @Option(help: "The pipeline's folder, with its cascade.json and weights.")
  var pipeline: String

  @Option(help: "The training images: DATA/<class>/*.png.")
  var data: String

  @Option(
    help: ArgumentHelp("Steps that are left of each stage's, of stages that follow each other: base32=5,sr64=4.", valueName: "stage=n,…"))
  var left: [String]

  @Option(help: "Folder of the results; it is made if it is not there.")
  var out: String

  @Option(help: "Take the first so many images of each class, by name.")
  var limit: Int?

  @Option(help: "Seed of the first image of the folder; the next ones' follow.")
  var seed: UInt64 = 0

  @OptionGroup
  var stepping: SteppingOptions

  func validate() throws {
    guard limit.map({ $0 >= 1 }) ?? true else { throw ValidationError("--limit \(limit ?? 0): at least 1") }
  }

  /// An image in every size that is asked for.
  private struct Original {
    let item: DataFolder.Item
    let seed: UInt64
    let planes: [Int: [Float]]
  }

  func run() throws {
    let pipeline = try Pipeline.load(pipeline)
    let stages = pipeline.manifest.stages
    let chosen = try chosen(pipeline.manifest)
    let compute = stepping.compute
    let engines = try chosen.map { try StageEngine(pipeline, stage: $0.stage, device: Device(compute.device), threads: compute.threads) }
    let options = try SamplingOptions(pipeline.manifest)
    let (first, last) = (chosen[0].stage, chosen[chosen.count - 1].stage)
    let sides = (max(first - 1, 0)...last).map { stages[$0].resolution }
    let folder = try DataFolder(root: data, labels: pipeline.manifest.labels)
    for label in folder.labels { try FileManager.default.createDirectory(atPath: "\(out)/\(label)", withIntermediateDirectories: true) }
    let wanted = wanted(folder)
    var likeness: [Double] = []
    for start in stride(from: 0, to: wanted.count, by: stepping.batch) {
      let originals = originals(wanted[start..<min(start + stepping.batch, wanted.count)], folder, sides)
      var below = first > 0 ? originals.map { $0.planes[stages[first - 1].resolution] } : originals.map { _ in nil }
      for ((stage, left), engine) in zip(chosen, engines) {
        let side = stages[stage].resolution
        let requests = zip(originals, below).map { original, below in
          StageEngine.Request(
            label: original.item.label, seed: original.seed, input: below, start: original.planes[side].map { ($0, left) })
        }
        below = try engine.samples(requests, options: options, batch: stepping.batch)
      }
      let side = stages[last].resolution
      for (original, drawn) in zip(originals, below) {
        guard let drawn, let planes = original.planes[side] else { continue }
        let png = try RGBImage(chw: drawn, width: side, height: side).png()
        try Data(png).write(to: URL(fileURLWithPath: "\(out)/\(original.item.path)"), options: .atomic)
        likeness.append(ImageSimilarity.psnr(drawn, planes))
      }
      ProgressLine.show("\(start + originals.count) of \(wanted.count)")
    }
    guard !likeness.isEmpty else { return print("\(out): nothing was left to do") }
    let mean = likeness.reduce(0, +) / Double(likeness.count)
    print("\(out): \(likeness.count) images, \(String(format: "%.1f", mean)) dB from the originals on average")
  }

  /// The stages and what is left of their steps, from the first one up.
  private func chosen(_ manifest: Manifest) throws -> [(stage: Int, left: Int)] {
    do throws(CascadeError) {
      let values = try StageValues("--left", left, stages: nil) { Int($0) }.values
      var chosen: [(stage: Int, left: Int)] = []
      for (name, left) in values {
        let stage = try manifest.stage(named: name)
        let steps = manifest.stages[stage].sampler.steps
        guard (1...steps).contains(left) else {
          throw CascadeError(.options, "--left \(name)=\(left): choose from 1 to its \(steps) steps")
        }
        chosen.append((stage, left))
      }
      chosen.sort { $0.stage < $1.stage }
      guard let first = chosen.first, chosen.map(\.stage) == Array(first.stage..<first.stage + chosen.count) else {
        throw CascadeError(
          .options, "--left: name stages that follow each other, of \(manifest.stages.map(\.name).joined(separator: ", "))")
      }
      return chosen
    } catch {
      throw ValidationError(error.message)
    }
  }

  /// The images that have no result yet, with their seeds.
  private func wanted(_ folder: DataFolder) -> [(item: DataFolder.Item, seed: UInt64)] {
    var taken = [Int](repeating: 0, count: folder.labels.count)
    return folder.items.enumerated().compactMap { index, item in
      taken[item.label] += 1
      guard taken[item.label] <= limit ?? .max, !FileManager.default.fileExists(atPath: "\(out)/\(item.path)") else { return nil }
      return (item, seed &+ UInt64(index))
    }
  }

  /// Those that can be read; the others are named.
  private func originals(
    _ wanted: ArraySlice<(item: DataFolder.Item, seed: UInt64)>, _ folder: DataFolder, _ sides: [Int]
  ) -> [Original] {
    wanted.compactMap { item, seed in
      do throws(TrainingError) {
        var planes: [Int: [Float]] = [:]
        for side in sides { planes[side] = try folder.picture(item, side: side).planes.map { $0 / 127.5 - 1 } }
        return Original(item: item, seed: seed, planes: planes)
      } catch {
        FileHandle.standardError.write(Data("skipped: \(error.message)\n".utf8))
        return nil
      }
    }
  }
}
