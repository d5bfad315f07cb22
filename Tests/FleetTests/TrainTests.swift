import Foundation
import Images
import Testing

@testable import Load

extension FleetTests {
  /// `weir-lab train` in several processes.
  @Suite struct TrainTests {
    @Test func oneThatDiesEndsTheOthersAndAllGoOnFromThere() async throws {
      let pipeline = try TinyPipeline()
      defer { pipeline.remove() }
      let data = "\(pipeline.folder)/data"
      for name in TinyPipeline.labels {
        try FileManager.default.createDirectory(atPath: "\(data)/\(name)", withIntermediateDirectories: true)
        let image = RGBImage(width: 8, height: 8, pixels: [UInt8](repeating: UInt8(name.utf8.count), count: 192))
        try Data(image.png()).write(to: URL(fileURLWithPath: "\(data)/\(name)/0.png"))
      }
      func start(_ flags: [String]) throws -> [Program] {
        let port = try FaultyNetwork.freePorts(1, at: ["127.0.0.1"])[0]
        return (0..<2).map { rank in
          Program(
            "weir-lab",
            [
              "train", "--pipeline", pipeline.folder, "--stage", "base8", "--data", data, "--out", "\(pipeline.folder)/run", "--batch", "2",
              "--threads", "1", "--sample-every", "0", "--rank", "\(rank)", "--world", "2", "--master", "127.0.0.1:\(port)",
            ] + flags, name: "rank \(rank)")
        }
      }
      let killed = try start([])
      try await killed[0].line(containing: "2 processes, new run")
      await killed[1].kill()
      #expect(try await killed[0].end() == 1)
      try await killed[0].line(containing: "another process of the run has ended")

      let resumed = try start(["--resume"])
      try await resumed[0].line(containing: "2 processes")
      await resumed[1].signal(SIGTERM)
      for program in resumed { #expect(try await program.end() == 0) }
      try await resumed[0].line(containing: "stopped at step")
    }
  }
}
