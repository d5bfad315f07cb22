import Client
import Digests
import Foundation
import Testing
import Wire

extension FleetTests {
  /// A fleet of real networks against `weir-lab sample`: the same files, byte for byte.
  @Suite struct OracleTests {
    private static let seed: UInt64 = 100

    /// The serial reference's images: file bytes and tensor digests by label and seed.
    private struct Oracle {
      var files: [String: Data] = [:]
      var digests: [String: String] = [:]

      init(_ pipeline: TinyPipeline, count: Int, _ flags: [String] = []) async throws {
        let out = "\(pipeline.folder)/oracle-\(UUID().uuidString)"
        let result = try await run(
          "weir-lab",
          [
            "sample", "--pipeline", pipeline.folder, "--label", "all", "--seed", "\(OracleTests.seed)", "--count", "\(count)", "--out", out,
            "--json",
          ] + flags)
        try #require(result.status == 0, "\(result)")
        let report = try #require(try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any])
        for image in try #require(report["images"] as? [[String: Any]]) {
          let key = try OracleTests.key(image["label"], image["seed"])
          files[key] = try Data(contentsOf: URL(fileURLWithPath: try #require(image["file"] as? String)))
          digests[key] = try #require(image["digest"] as? String)
        }
        try #require(files.count == count * TinyPipeline.labels.count)
        // An image that did not depend on its sample would prove nothing.
        try #require(Set(digests.values).count == digests.count)
      }
    }

    private static func key(_ label: Any?, _ seed: Any?) throws -> String {
      "\(try #require(label as? String)) \(try #require(seed as? Int))"
    }

    /// Submits the oracle's samples as one job and compares the files that `weir` writes.
    private func expectFiles(
      _ oracle: Oracle, count: Int, from fleet: Fleet, _ flags: [String] = [], sourceLocation: SourceLocation = #_sourceLocation,
      meanwhile: (JobID) async throws -> Void = { _ in }
    ) async throws {
      let out = "\(fleet.folder)/out-\(UUID().uuidString)"
      let submit = await fleet.startProgram(
        "weir",
        [
          "submit", "--broker", await fleet.endpoint, "--label", "all", "--seed", "\(Self.seed)", "--count", "\(count)", "--out", out,
          "--json",
        ] + flags)
      let accepted = try #require(try jsonLines(try await submit.line(containing: "\"accepted\"")).first)
      let job = try #require(accepted["job"] as? String)
      try await meanwhile(try #require(JobID(job)))
      #expect(try await submit.end() == 0, sourceLocation: sourceLocation)
      var compared = 0
      for image in try await submit.images() {
        let key = try Self.key(image["label_name"], image["seed"])
        let file = try Data(contentsOf: URL(fileURLWithPath: try #require(image["path"] as? String)))
        #expect(file == oracle.files[key], "\(key) \(flags)", sourceLocation: sourceLocation)
        compared += 1
      }
      #expect(compared == oracle.files.count, sourceLocation: sourceLocation)
    }

    @Test func oneWorkerAStage() async throws {
      let pipeline = try TinyPipeline()
      defer { pipeline.remove() }
      let oracle = try await Oracle(pipeline, count: 8)
      let truncated = try await Oracle(pipeline, count: 2, ["--truncated", "--aug", "sr16=300"])
      let guided = try await Oracle(pipeline, count: 2, ["--guidance", "base8=2", "--sampler", "unipc"])
      let unguided = try await Oracle(pipeline, count: 2, ["--sampler", "unipc"])
      #expect(Set(guided.digests.values).isDisjoint(with: unguided.digests.values))
      try await Fleet.with(.cascade(pipeline: pipeline.folder)) { fleet in
        try await expectFiles(oracle, count: 8, from: fleet)
        try await expectFiles(guided, count: 2, from: fleet, ["--guidance", "base8=2", "--sampler", "unipc"])
        try await expectFiles(truncated, count: 2, from: fleet, ["--truncated", "--aug", "sr16=300"])

        // The same 24 as jobs of their own, all at once.
        let client = try await fleet.client
        let wanted = TinyPipeline.labels.flatMap { label in (0..<8).map { (label, Self.seed + $0) } }
        let digests = try await withThrowingTaskGroup(of: (String, String).self) { group in
          for (label, seed) in wanted {
            group.addTask {
              let job = try await client.submit(Submission(runs: [SampleRun(label: label, seed: seed)])).job
              _ = try await client.finished(job)
              return ("\(label) \(seed)", hex(try await client.fetch(job, sample: 0).digest))
            }
          }
          return try await group.reduce(into: [String: String]()) { $0[$1.0] = $1.1 }
        }
        #expect(digests == oracle.digests)
      }
    }

    @Test func twoWorkersAStageAndOneOfEachKilled() async throws {
      let pipeline = try TinyPipeline()
      defer { pipeline.remove() }
      let flags = ["--steps", "base8=40,sr16=60,sr32=80"]
      let oracle = try await Oracle(pipeline, count: 8)
      let long = try await Oracle(pipeline, count: 2, flags)
      try await Fleet.with(.cascade(pipeline: pipeline.folder), perStage: 2, slots: 3, deadMilliseconds: Fleet.quickDeath) { fleet in
        try await expectFiles(oracle, count: 8, from: fleet)
        let client = try await fleet.client
        try await expectFiles(long, count: 2, from: fleet, flags) { job in
          var states = JobStates(job, of: client)
          for stage in TinyPipeline.stages {
            try await states.first { $0.hasBegun(stage) }
            try await fleet.replaceWorker(stage, name: "\(stage)-1")
          }
        }
      }
    }
  }
}

extension Program {
  /// What `weir submit --json` said about images.
  func images() async throws -> [[String: Any]] {
    try await lines { $0.hasPrefix("{") }.flatMap { try jsonLines($0) }.filter { $0["event"] as? String == "image" }
  }
}
