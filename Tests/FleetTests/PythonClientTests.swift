import Client
import Foundation
import Images
import Subprocess
import Testing
import Wire

extension FleetTests {
  /// `ops/examples`, the worked example of the wire protocol for other languages.
  @Suite struct PythonClientTests {
    @Test func submitsWatchesAndWritesImages() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 1)) { fleet in
        try await check(await fleet.endpoint, "\(fleet.folder)/out")
      }
    }

    private func check(_ endpoint: String, _ out: String) async throws {
      let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      let script = repository.appendingPathComponent("ops/examples/run").path
      let result = try await Subprocess.run(
        .name("bash"), arguments: [script, "--broker", endpoint, "--label", "class-3", "--count", "2", "--seed", "5", "--out", out],
        output: .string(limit: 1 << 16), error: .string(limit: 1 << 16))
      #expect(result.terminationStatus == .exited(0), "it said: \(result.standardError)")
      let paths = result.standardOutput.split(separator: "\n").map(String.init)
      try #require(paths.count == 2, "it printed: \(result.standardOutput)")
      let client = try WeirClient(broker: endpoint)
      for (index, path) in paths.enumerated() {
        let name = URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
        let job = try #require(JobID(name.prefix(16)))
        #expect(name.hasSuffix("-\(index)"))
        let image = try await client.fetch(job, sample: UInt32(index))
        #expect(image.label == 3)
        #expect(image.seed == 5 + UInt64(index))
        let written = try RGBImage(png: [UInt8](Data(contentsOf: URL(fileURLWithPath: path))))
        #expect(written == RGBImage(chw: image.tensor.floats(), width: 256, height: 256), "\(path): other pixels than ours")
      }
    }
  }
}
