import Diffusion
import Foundation
import Tensors
import Testing
import UNet

@testable import Cascade

/// guided-diffusion's checkpoints, on their way into a pipeline. The files are those of ops/reference/make_import_goldens.py, or of WEIR_IMPORT_GOLDENS.
struct ImportTests {
  private struct Golden: Decodable {
    struct Stage: Decodable {
      var name: String
      var flags: String
      var start: [Float]
      var image: [Float]
    }

    var classes: Int
    var label: Int
    var stages: [Stage]
  }

  private let folder: String

  init() throws {
    let own = Bundle.module.url(forResource: "Goldens", withExtension: nil)?.path
    folder = try #require(ProcessInfo.processInfo.environment["WEIR_IMPORT_GOLDENS"] ?? own)
  }

  private func golden() throws -> Golden {
    try JSONDecoder().decode(Golden.self, from: Data(contentsOf: URL(fileURLWithPath: "\(folder)/golden.json")))
  }

  private func withFolder(_ body: (String) throws -> Void) throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("weir-import-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try body(path)
  }

  private func stage(_ golden: Golden.Stage, flags: String? = nil) throws -> StageImport {
    try StageImport(name: golden.name, guidedDiffusion: flags ?? golden.flags, checkpoint: .open("\(folder)/\(golden.name).pt"))
  }

  @Test func anImportedCascadeSamplesWhatItsOwnProgramSamples() throws {
    let golden = try golden()
    try withFolder { path in
      for stage in golden.stages { try self.stage(stage).write(to: path) }
      let pipeline = try Pipeline.load(path)
      #expect(pipeline.manifest.labels.count == golden.classes && pipeline.manifest.stages.map(\.sampler.kind) == [.ddim, .ddim])
      var below: (image: [Float], side: Int)?
      for (setting, expected) in zip(pipeline.manifest.stages, golden.stages) {
        let network = try ServedUNet(setting.network, weights: .open("\(path)/\(setting.weights)"), dtype: .f32)
        let sampler = try Sampler(
          setting.sampler.kind, indices: Respacing.indices("ddim10", trainSteps: setting.schedule.steps),
          schedule: setting.schedule.tables(), prediction: setting.prediction, variance: setting.variance)
        var state = SamplerState(x: expected.start)
        let lowRes = try below.map { try Tensor($0.image, shape: [1, 3, $0.side, $0.side]) }
        while state.step < sampler.steps {
          let output = try network(
            x: Tensor(state.x, shape: [1, 3, setting.resolution, setting.resolution]),
            timesteps: Tensor([Float(sampler.timesteps[state.step])], shape: [1]), labels: Tensor([Int64(golden.label)], shape: [1]),
            lowRes: lowRes, augLevels: nil
          ).floats()
          output.withUnsafeBufferPointer { sampler.advance(&state, modelOutput: $0, noise: NoiseSource(seed: 1, stage: 0)) }
        }
        let worst = zip(state.x, expected.image).map { abs($0 - $1) }.max() ?? .infinity
        #expect(state.x.count == expected.image.count && worst <= 1e-4, "\(setting.name) differs by \(worst)")
        below = (expected.image, setting.resolution)
      }
    }
  }

  @Test func importingAStageAgainReplacesIt() throws {
    let golden = try golden()
    try withFolder { path in
      for stage in golden.stages + golden.stages.prefix(1) { try self.stage(stage).write(to: path, labels: ["a", "b", "c", "d", "e"]) }
      let manifest = try Manifest.load(path)
      #expect(manifest.stages.map(\.name) == golden.stages.map(\.name) && manifest.labels == ["a", "b", "c", "d", "e"])
    }
  }

  @Test func flagsThatAreNotTheCheckpointsAreRefused() throws {
    let base = try #require(try golden().stages.first)
    func complaint(_ flags: String) -> String {
      do {
        _ = try stage(base, flags: flags)
        return "none"
      } catch { return "\(error)" }
    }
    for (change, word) in [
      ("--num_res_blocks 1|--num_res_blocks 2", "missing: input_blocks"), ("--class_cond True|", "--class_cond"),
      ("--learn_sigma True|", "out.2.weight is [6"), ("--noise_schedule cosine|--noise_schedule wavy", "--noise_schedule wavy"),
      ("--dropout 0.1|--dropuot 0.1", "--dropuot"), ("--image_size 8|--image_size 7", "image_size"),
      ("--image_size 8|--image_size", "\"8\" is no flag"),
      ("ddim10|ddim1001", "--timestep_respacing"), ("--channel_mult 4,4|--channel_mult 4,x", "--channel_mult"),
      ("--dropout 0.1|--predict_xstart maybe", "--predict_xstart"), ("--dropout 0.1|--dropout 0.1 --dropout 0.1", "twice"),
    ] {
      let parts = change.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      let flags = SmallFlags.base.replacing(parts[0], with: parts[1])
      try #require(flags != SmallFlags.base, "\(change)")
      let complaint = complaint(flags)
      #expect(complaint.contains(word), "\(change): \(complaint)")
    }
  }

  @Test func anUpsamplerCannotBeTheFirstStage() throws {
    let upsampler = try #require(try golden().stages.last)
    try withFolder { path in
      let error = #expect(throws: CascadeError.self) { try stage(upsampler).write(to: path) }
      #expect(error?.message.contains("first stage") == true, "\(String(describing: error))")
      #expect(!FileManager.default.fileExists(atPath: "\(path)/cascade.json"))
    }
  }

  /// The flags of the goldens that are kept.
  private enum SmallFlags {
    static let base =
      "--image_size 8 --num_channels 8 --channel_mult 4,4 --num_res_blocks 1 --attention_resolutions 4 --num_head_channels 16 "
      + "--class_cond True --learn_sigma True --noise_schedule cosine --resblock_updown True --use_new_attention_order True "
      + "--use_scale_shift_norm True --dropout 0.1 --use_fp16 True --timestep_respacing ddim10"
  }
}
