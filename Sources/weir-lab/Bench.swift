import ArgumentParser
import Cascade
import Foundation
import Tensors

struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Time every stage's step against its convolutions alone.",
    discussion: """
      For each stage and batch size, medians of: step_ms, one denoising step of the whole batch; conv_ms, the same step's convolutions and \
      linear layers alone as oneDNN (on a GPU, its library) computes them, taken by turns with the steps; ratio, the one by the other; gflops, those layers' work divided by step_ms.
      """)

  @Option(help: "The pipeline's folder, with its cascade.json and weights.")
  var pipeline: String

  @Option(help: ArgumentHelp("Only this stage.", valueName: "name"))
  var stage: String?

  @Option(help: ArgumentHelp("Batch sizes.", valueName: "n,…"))
  var batch = "1,4,8"

  @Option(help: "How often each is timed.")
  var repeats = 7

  @OptionGroup
  var compute: ComputeOptions

  @Option(help: "f32 or bf16, for every stage (default: the manifest's; f32 where the processor lacks bf16).")
  var dtype: String?

  @Flag(help: "One JSON object on standard output, at the end.")
  var json = false

  private var batches: [Int] { batch.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) ?? 0 } }
  private var precision: DType? { [DType.f32, .bf16].first { $0.rawValue == dtype } }

  func validate() throws {
    guard batches.allSatisfy({ (1...256).contains($0) }) else { throw ValidationError("--batch \(batch): give sizes of 1 to 256: 1,4,8") }
    guard (1...998).contains(repeats) else { throw ValidationError("--repeats \(repeats): give 1 to 998") }
    guard dtype == nil || precision != nil else { throw ValidationError("--dtype \(dtype ?? ""): give f32 or bf16") }
  }

  func run() throws {
    let only = try stage.map { try Manifest.load(self.pipeline).stage(named: $0) }
    let pipeline = try Pipeline.load(self.pipeline)
    var report = Report(threads: compute.threads, stages: [])
    if !json { print("stage    batch dtype   step ms   conv ms   step/conv   GFLOP/s") }
    for index in pipeline.manifest.stages.indices where only == nil || only == index {
      let engine = try StageEngine(pipeline, stage: index, device: Device(compute.device), dtype: precision, threads: compute.threads)
      for size in batches {
        let result = try StageBenchmark.measure(engine, batch: size, repeats: repeats)
        report.stages.append(result)
        guard !json else { continue }
        let name = result.stage.padding(toLength: 8, withPad: " ", startingAt: 0)
        let type = result.dtype.padding(toLength: 5, withPad: " ", startingAt: 0)
        let numbers = String(
          format: "%5d %@ %9.1f %9.1f %11.2f %9.1f", size, type, result.stepMilliseconds, result.convMilliseconds, result.ratio,
          result.gflops)
        print("\(name) \(numbers)")
      }
    }
    guard json else { return }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
    print(String(decoding: try encoder.encode(report), as: UTF8.self))
  }

  private struct Report: Encodable {
    let threads: Int
    var stages: [StageBenchmark]
  }
}
