import Foundation
import FreePorts
import Images
import Testing

extension FleetTests {
  /// `weir-lab train` in several processes.
  @Suite struct TrainTests {
    private let pipeline: TinyPipeline

    init() throws {
      pipeline = try TinyPipeline()
      for name in TinyPipeline.labels {
        try FileManager.default.createDirectory(atPath: "\(pipeline.folder)/data/\(name)", withIntermediateDirectories: true)
        let image = RGBImage(width: 8, height: 8, pixels: [UInt8](repeating: UInt8(name.utf8.count), count: 192))
        try Data(image.png()).write(to: URL(fileURLWithPath: "\(pipeline.folder)/data/\(name)/0.png"))
      }
    }

    private func arguments(run: String) -> [String] {
      [
        "train", "--pipeline", pipeline.folder, "--stage", "base8", "--data", "\(pipeline.folder)/data", "--out",
        "\(pipeline.folder)/\(run)", "--batch", "2", "--threads", "1", "--sample-every", "0",
      ]
    }

    /// One for each rank.
    private func start(run: String, _ flags: [String]) throws -> [Program] {
      let port = try #require(FreePorts.choose(1)?.first)
      return (0..<2).map { rank in
        Program(
          "weir-lab", arguments(run: run) + ["--rank", "\(rank)", "--world", "2", "--master", "127.0.0.1:\(port)"] + flags,
          name: "rank \(rank)")
      }
    }

    @Test func oneThatStartsTheOthersTrainsAsThoseStartedOneByOne() async throws {
      defer { pipeline.remove() }
      let flags = ["--max-steps", "3", "--export"]
      let exported = URL(fileURLWithPath: "\(pipeline.folder)/base8.safetensors")
      let before = try Data(contentsOf: exported)
      let together = try await run("weir-lab", arguments(run: "together") + flags + ["--processes", "2"])
      #expect(together.status == 0 && together.errors.contains("4 a step, 2 processes, new run"), "\(together)")
      let weights = try Data(contentsOf: exported)
      #expect(weights != before)
      try FileManager.default.removeItem(at: exported)
      for program in try start(run: "singly", flags) { #expect(try await program.end() == 0) }
      #expect(try Data(contentsOf: exported) == weights)
      // What none of them can do is no reason for the first to wait.
      let failed = try await run("weir-lab", arguments(run: "together") + ["--processes=2"])
      #expect(failed.status == 1 && failed.errors.contains("holds a run already"), "\(failed)")
    }

    @Test func oneThatDiesEndsTheOthersAndAllGoOnFromThere() async throws {
      defer { pipeline.remove() }
      let killed = try start(run: "run", [])
      try await killed[0].line(containing: "2 processes, new run")
      await killed[1].kill()
      #expect(try await killed[0].end() == 1)
      try await killed[0].line(containing: "another process of the run has ended")

      let resumed = try start(run: "run", ["--resume"])
      try await resumed[0].line(containing: "2 processes")
      await resumed[1].signal(SIGTERM)
      for program in resumed { #expect(try await program.end() == 0) }
      try await resumed[0].line(containing: "stopped at step")
    }
  }
}
