import Foundation
import Images
import Testing

extension FleetTests {
  /// `weir-lab sweep` on a real pipeline, real images and the real feature net.
  @Suite struct SweepTests {
    private struct Line: Decodable {
      struct Setting: Decodable, Hashable { let sampler: String, steps: Int, aug: Int }
      let setting: Setting
      let kid, fid: Double
      let psnr, psnrOfMean, ssim: Double?
    }

    private func lines(_ folder: String) throws -> [Line] {
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      return try String(contentsOfFile: "\(folder)/sweep.jsonl", encoding: .utf8).split(separator: "\n").map {
        try decoder.decode(Line.self, from: Data($0.utf8))
      }
    }

    @Test func everySettingIsMeasuredOnce() async throws {
      let pipeline = try TinyPipeline()
      defer { pipeline.remove() }
      let data = "\(pipeline.folder)/data"
      for (label, name) in TinyPipeline.labels.enumerated() {
        try FileManager.default.createDirectory(atPath: "\(data)/\(name)", withIntermediateDirectories: true)
        for number in 0..<2 {
          let pixels = (0..<3 * 32 * 32).map { UInt8(truncatingIfNeeded: $0 * (3 + label) + number * 40) }
          try Data(RGBImage(width: 32, height: 32, pixels: pixels).png()).write(to: URL(fileURLWithPath: "\(data)/\(name)/\(number).png"))
        }
      }
      let net = try featureNet()
      func sweep(_ out: String, _ flags: [String]) async throws -> CommandResult {
        try await run(
          "weir-lab",
          ["sweep", "--pipeline", pipeline.folder, "--data", data, "--features", net, "--out", "\(pipeline.folder)/\(out)", "--count", "6"]
            + flags)
      }
      let settings = ["--stage", "sr16", "--sampler", "ddim,dpm++2m", "--steps", "3,5"]
      let first = try await sweep("a", settings)
      #expect(first.status == 0, "\(first)")
      let folder = "\(pipeline.folder)/a"
      let found = try lines(folder)
      #expect(
        found.count == 4 && Set(found.map(\.setting)).count == 4
          && found.allSatisfy { $0.psnr != nil && $0.ssim != nil && $0.setting.aug == 100 })
      #expect(Set(found.map(\.kid)).count == 4, "settings that made no difference: \(found)")
      // What is known is not drawn again; what is new is added.
      let more = try await sweep("a", settings + ["--aug", "0,100"])
      #expect(more.status == 0 && more.output.split(separator: "\n").count == 4, "\(more)")
      #expect(try lines(folder).count == 8)
      let svg = try String(contentsOfFile: "\(folder)/sweep.svg", encoding: .utf8)
      #expect(svg.components(separatedBy: "<polyline").count == 5, "two samplers, two levels")
      // The batch changes nothing.
      let single = try await sweep("b", ["--stage", "sr16", "--sampler", "ddim", "--steps", "3", "--batch", "1", "--threads", "1"])
      #expect(single.status == 0, "\(single)")
      let same = found.filter { $0.setting.sampler == "ddim" && $0.setting.steps == 3 }
      #expect(try lines("\(pipeline.folder)/b").map(\.fid) == same.map(\.fid))
      // Of several samples' mean the noise is less.
      let drawn = try await sweep("b", ["--stage", "sr16", "--sampler", "ddim", "--steps", "3", "--draws", "3"])
      #expect(drawn.status == 0, "\(drawn)")
      let both = try lines("\(pipeline.folder)/b")
      #expect(both.count == 2 && both[0].psnrOfMean == nil && both[1].psnr == both[0].psnr)
      #expect((both[1].psnrOfMean ?? 0) > (both[1].psnr ?? .infinity) + 0.1, "\(both)")
      // The first stage has no inputs, and the last one can be fed with what the others make.
      let base = try await sweep("c", ["--stage", "base8"])
      #expect(base.status == 0, "\(base)")
      #expect(try lines("\(pipeline.folder)/c").map(\.psnr) == [nil])
      let generated = try await sweep("d", ["--stage", "sr32", "--inputs", "generated"])
      #expect(generated.status == 0, "\(generated)")
      for wrong in [
        ["--sampler", "euler"], ["--steps", "0"], ["--steps", "a"], ["--aug", "601"], ["--stage", "sr17"], ["--count", "1"],
        ["--draws", "0"], ["--draws", "2", "--inputs", "generated"], ["--stage", "base8", "--draws", "2"],
      ] {
        let result = try await sweep("e", (wrong[0] == "--stage" ? [] : ["--stage", "sr16"]) + wrong)
        #expect(result.status != 0 && result.status < 126, "\(wrong): \(result)")
      }
    }
  }
}
