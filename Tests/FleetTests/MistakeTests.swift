import Client
import Foundation
import Testing
import Wire

extension FleetTests {
  /// What a person gets wrong: a clear message, a status that says so, and nothing hangs.
  @Suite struct MistakeTests {
    private func expect(
      _ executable: String, _ arguments: [String], status: Int32, _ words: [String], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let result = try await run(executable, arguments)
      #expect(result.status == status, "\(executable) \(arguments): \(result)", sourceLocation: sourceLocation)
      for word in words {
        #expect(
          result.errors.contains(word), "\(executable) \(arguments) does not say \"\(word)\": \(result)", sourceLocation: sourceLocation)
      }
    }

    @Test func wrongArgumentsOfAWorker() async throws {
      let nowhere = "/nowhere/\(UUID().uuidString)"
      try await expect("weir-worker", ["--stage", "base32", "--pipeline", nowhere], status: 1, ["\(nowhere)/cascade.json"])
      try await expect(
        "weir-worker", ["--stage", "sr512", "--engine", "synthetic"], status: 1, ["no stage \"sr512\"", "base32, sr64, sr256"])
      try await expect("weir-worker", ["--stage", "base32"], status: 2, ["--pipeline is missing"])
      try await expect("weir-worker", ["--engine", "synthetic"], status: 2, ["--stage"])
      try await expect(
        "weir-worker", ["--stage", "base32", "--engine", "synthetic", "--broker", "localhost"], status: 2, ["tcp://127.0.0.1:7710"])
      try await expect("weir-worker", ["--stage", "base32", "--engine", "synthetic", "--slots", "0"], status: 2, ["--slots 0"])
      try await expect(
        "weir-worker", ["--stage", "base32", "--engine", "synthetic", "--batching", "never"], status: 2, ["never", "step", "request"])
    }

    @Test func weightsThatLie() async throws {
      let pipeline = try TinyPipeline()
      defer { pipeline.remove() }
      let path = pipeline.weights(1)
      let good = try Data(contentsOf: URL(fileURLWithPath: path))
      let length = good.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
      func header(_ text: String) -> Data {
        var size = UInt64(text.utf8.count).littleEndian
        return Data(bytes: &size, count: 8) + Data(text.utf8)
      }
      let wrong: [(String, Data)] = [
        ("cut short", good.prefix(good.count - 100)),
        ("cut in the header", good.prefix(8 + length / 2)),
        ("a header longer than the file", Data(repeating: 0xff, count: 7) + Data([0x0f]) + good.dropFirst(8)),
        ("empty", Data()),
        (
          "overlapping",
          header(
            #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#)
            + Data(count: 12)
        ),
        ("of another network", header(#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#) + Data(count: 8)),
      ]
      for (what, bytes) in wrong {
        try bytes.write(to: URL(fileURLWithPath: path))
        let result = try await run("weir-worker", ["--stage", "sr16", "--pipeline", pipeline.folder])
        #expect(result.status == 1 && result.errors.contains("sr16.safetensors"), "\(what): \(result)")
      }
      try FileManager.default.removeItem(atPath: path)
      try await expect("weir-worker", ["--stage", "sr16", "--pipeline", pipeline.folder], status: 1, ["sr16.safetensors"])
      try await expect("weir-worker", ["--stage", "sr64", "--pipeline", pipeline.folder], status: 1, ["base8, sr16, sr32"])
    }

    @Test func nobodyThere() async throws {
      // A port that a fleet had a moment ago.
      var endpoint = ""
      try await Fleet.with(perStage: 0) { endpoint = await $0.endpoint }
      try await expect(
        "weir-worker", ["--stage", "base32", "--engine", "synthetic", "--broker", endpoint, "--connect-timeout", "0.3"], status: 4,
        ["no broker at \(endpoint)"])
      for command in [["submit", "--label", "0"], ["status"], ["workers"]] {
        try await expect("weir", command + ["--broker", endpoint, "--timeout", "0.3"], status: 4, [endpoint])
      }
    }

    @Test func whatTheBrokerRefuses() async throws {
      try await Fleet.with(perStage: 1) { fleet in
        let broker = ["--broker", await fleet.endpoint]
        try await expect("weir", ["submit", "--label", "dragon"] + broker, status: 3, ["dragon"])
        try await expect("weir", ["submit", "--label", "12"] + broker, status: 3, ["12"])
        try await expect("weir", ["submit", "--label", "0", "--steps", "sr512=3"] + broker, status: 3, ["sr512"])
        try await expect("weir", ["submit", "--label", "0", "--steps", "sr64=1001"] + broker, status: 3, ["1001"])
        try await expect("weir", ["submit", "--label", "0", "--sampler", "euler"] + broker, status: 3, ["euler"])
        try await expect("weir", ["submit", "--label", "0", "--pipeline", "other"] + broker, status: 3, ["other"])
        try await expect("weir", ["status", "0123456789abcdef"] + broker, status: 3, ["0123456789abcdef"])
        try await expect("weir", ["cancel", "0123456789abcdef"] + broker, status: 3, ["0123456789abcdef"])
        try await expect("weir", ["watch", "12"] + broker, status: 2, ["12"])
        try await expect(
          "weir-broker", ["--bind", await fleet.endpoint, "--data", "\(fleet.folder)/other"], status: 1, ["in use", await fleet.endpoint])
        try await expect("weir-broker", ["--bind", "tcp://127.0.0.1:0", "--data", "\(fleet.folder)/data"], status: 1, ["data"])
      }
    }
  }
}
