import Foundation
import Images
import Testing

extension FleetTests {
  /// `weir-lab redraw`, and training on what it made.
  @Suite struct RedrawTests {
    @Test func whatOneStageRedrawsTheNextOneTrainsOn() async throws {
      let pipeline = try TinyPipeline()
      defer { pipeline.remove() }
      let (data, out) = ("\(pipeline.folder)/data", "\(pipeline.folder)/redrawn")
      for (label, name) in TinyPipeline.labels.enumerated() {
        try FileManager.default.createDirectory(atPath: "\(data)/\(name)", withIntermediateDirectories: true)
        for number in 0..<3 {
          let pixels = (0..<3 * 32 * 32).map { UInt8(truncatingIfNeeded: $0 * (3 + label) + number * 40) }
          try Data(RGBImage(width: 32, height: 32, pixels: pixels).png()).write(to: URL(fileURLWithPath: "\(data)/\(name)/\(number).png"))
        }
      }
      try Data("no image".utf8).write(to: URL(fileURLWithPath: "\(data)/square/0.png"))
      func redraw(_ left: String, _ flags: [String] = []) async throws -> CommandResult {
        try await run("weir-lab", ["redraw", "--pipeline", pipeline.folder, "--data", data, "--out", out, "--left", left] + flags)
      }
      func files() throws -> [String: Data] {
        let paths = try FileManager.default.subpathsOfDirectory(atPath: out).filter { $0.hasSuffix(".png") }
        return try Dictionary(uniqueKeysWithValues: paths.map { ($0, try Data(contentsOf: URL(fileURLWithPath: "\(out)/\($0)"))) })
      }
      let some = try await redraw("base8=2", ["--limit", "2"])
      #expect(some.status == 0 && some.output.contains("5 images") && some.errors.contains("square/0.png"), "\(some)")
      let first = try files()
      #expect(first.count == 5 && Set(first.values).count == 5)
      for (path, png) in first { #expect(try RGBImage(png: [UInt8](png)).width == 8, "\(path)") }
      // The rest is added, and drawn all at once, one by one and on one thread, an image is the same.
      #expect(try await redraw("base8=2").status == 0)
      let whole = try files()
      #expect(whole.count == 8 && first.allSatisfy { whole[$0.key] == $0.value })
      try FileManager.default.removeItem(atPath: out)
      #expect(try await redraw("base8=2", ["--batch", "1", "--threads", "1"]).status == 0)
      #expect(try files() == whole)

      func train(_ stage: String, _ inputs: String) async throws -> CommandResult {
        try await run(
          "weir-lab",
          [
            "train", "--pipeline", pipeline.folder, "--stage", stage, "--data", data, "--out", "\(pipeline.folder)/run-\(stage)", "--batch",
            "2",
            "--max-steps", "2", "--sample-every", "0", "--threads", "1", "--redrawn", inputs, "--redrawn-part", "1",
          ])
      }
      let trained = try await train("sr16", out)
      #expect(trained.status == 0 && trained.errors.contains("8 of 8 images have an input in \(out)"), "\(trained)")
      let base = try await train("base8", out)
      #expect(base.status == 1 && base.errors.contains("--redrawn"), "\(base)")

      // Two stages after each other.
      try FileManager.default.removeItem(atPath: out)
      let both = try await redraw("sr16=1,base8=3", ["--limit", "1"])
      #expect(both.status == 0, "\(both)")
      for (path, png) in try files() { #expect(try RGBImage(png: [UInt8](png)).width == 16, "\(path)") }

      for wrong in ["base8=0", "base8=6", "base9=1", "base8=1,sr32=1", "base8", "sr16=2", ""] {
        let result = try await redraw(wrong)
        #expect(result.status != 0 && result.status < 126, "\(wrong): \(result)")
      }
    }
  }
}
