import Client
import Foundation
import Images
import Testing
import Wire
import Worker

extension FleetTests {
  /// `weir`'s commands against a fleet.
  @Suite struct CommandTests {
    private func weir(_ fleet: Fleet, _ arguments: [String]) async throws -> CommandResult {
      try await run("weir", arguments + ["--broker", await fleet.endpoint])
    }

    private func lines(_ result: CommandResult) -> [String] { result.output.split(separator: "\n").map(String.init) }

    private func objects(_ result: CommandResult) throws -> [[String: Any]] {
      try lines(result).map { line in
        let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        return try #require(object, "\(result)")
      }
    }

    private func object(_ result: CommandResult) throws -> [String: Any] {
      let all = try objects(result)
      return try #require(all.first, "\(result)")
    }

    private func bytes(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

    @Test func submitWritesTheImagesThatWereAskedFor() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 1)) { fleet in
        let out = "\(fleet.folder)/out"
        let result = try await weir(
          fleet, ["submit", "--label", "class-2,5", "--count", "2", "--seed", "9", "--steps", "base32=3,sr64=2", "--out", out])
        #expect(result.status == 0, "\(result)")
        let paths = lines(result)
        try #require(paths.count == 4, "\(result)")
        let job = try #require(JobID(URL(fileURLWithPath: paths[0]).lastPathComponent.prefix(16)))
        let expected: [(label: UInt32, seed: UInt64)] = [(2, 9), (2, 10), (5, 9), (5, 10)]
        for (index, sample) in expected.enumerated() {
          let tensor = try SyntheticEngine.reference(label: sample.label, seed: sample.seed, options: steps(3, 2, 5))
          let pixels = RGBImage(chw: tensor.floats(), width: 256, height: 256)
          #expect(try RGBImage(png: bytes("\(out)/\(job)-\(index).png")) == pixels, "sample \(index)")
        }
        // A row a label.
        let sheet = try RGBImage(png: bytes("\(out)/contact-sheet.png"))
        #expect(sheet.width == 2 * 258 + 2 && sheet.height == 2 * 258 + 2)
        // Fetched again, or made again in another job, they are the same files.
        let again = "\(fleet.folder)/again"
        let fetched = try await weir(fleet, ["fetch", "\(job)", "--out", again])
        #expect(fetched.status == 0, "\(fetched)")
        let other = try await weir(
          fleet, ["submit", "--label", "5", "--seed", "10", "--steps", "sr64=2,base32=3", "--out", "\(fleet.folder)/other"])
        #expect(other.status == 0, "\(other)")
        for index in 0..<4 { #expect(try bytes("\(out)/\(job)-\(index).png") == bytes("\(again)/\(job)-\(index).png")) }
        let copy = try #require(lines(other).first)
        #expect(try bytes("\(out)/\(job)-3.png") == bytes(copy))
      }
    }

    @Test func everyLabelAndAFile() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 0), slots: 16) { fleet in
        let all = try await weir(fleet, ["submit", "--label", "all", "--seed", "7", "--out", "\(fleet.folder)/all"])
        #expect(all.status == 0, "\(all)")
        #expect(lines(all).count == 12)
        let list = "\(fleet.folder)/list.csv"
        try Data("label,seed\nclass-1,7\n4,7\n".utf8).write(to: URL(fileURLWithPath: list))
        let some = try await weir(fleet, ["submit", "--samples", list, "--out", "\(fleet.folder)/some"])
        #expect(some.status == 0, "\(some)")
        let paths = lines(some)
        try #require(paths.count == 2)
        let same = lines(all).filter { $0.hasSuffix("-1.png") || $0.hasSuffix("-4.png") }
        #expect(try paths.map(bytes) == same.map(bytes))
      }
    }

    @Test func aJobThatNobodyWaitsFor() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 1)) { fleet in
        let arguments = ["submit", "--label", "1", "--seed", "3", "--key", "mine", "--detach"]
        let first = try await weir(fleet, arguments)
        #expect(first.status == 0, "\(first)")
        let job = try #require(lines(first).first)
        #expect(JobID(job) != nil, "\(first)")
        #expect(lines(try await weir(fleet, arguments)) == [job], "the same key is the same job")
        let out = "\(fleet.folder)/out"
        let watched = try await weir(fleet, ["watch", job, "--out", out, "--json"])
        #expect(watched.status == 0, "\(watched)")
        let events = try objects(watched)
        #expect(events.first { $0["event"] as? String == "finished" }?["state"] as? String == "done", "\(watched)")
        let image = try #require(events.first { $0["event"] as? String == "image" }, "\(watched)")
        #expect(image["path"] as? String == "\(out)/\(job)-0.png")
        #expect(image["label_name"] as? String == "class-1")
        #expect(image["seed"] as? Int == 3)
        let status = try object(try await weir(fleet, ["status", job, "--json"]))
        #expect(status["state"] as? String == "done")
        #expect((status["details"] as? [Any])?.count == 1)
        let list = try object(try await weir(fleet, ["status", "--json"]))
        #expect((list["jobs"] as? [[String: Any]])?.map { $0["job"] as? String } == [job])
        let table = try await weir(fleet, ["status"])
        #expect(lines(table).count == 2 && lines(table)[1].hasPrefix("\(job)  done"), "\(table)")
      }
    }

    @Test func workersAndACancelledJob() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 20)) { fleet in
        let listed = try object(try await weir(fleet, ["workers", "--json"]))["workers"] as? [[String: Any]]
        let workers = try #require(listed)
        #expect(Set(workers.compactMap { $0["stage"] as? String }) == Set(syntheticStages))
        let table = try await weir(fleet, ["workers"])
        #expect(lines(table).count == 4, "\(table)")
        let submitted = try await weir(fleet, ["submit", "--label", "0", "--count", "9", "--steps", "base32=1000", "--detach"])
        let job = try #require(lines(submitted).first, "\(submitted)")
        let none = try await weir(fleet, ["fetch", job, "--out", "\(fleet.folder)/none"])
        #expect(none.status == 1 && none.errors.contains("no finished image"), "\(none)")
        let cancelled = try await weir(fleet, ["cancel", job, "--json"])
        let counts = try object(cancelled)
        let queued = try #require(counts["queued"] as? Int)
        let stopped = try #require(counts["stopped"] as? Int)
        #expect(queued + stopped == 9 && counts["too_late"] as? Int == 0, "\(cancelled)")
        let watched = try await weir(fleet, ["watch", job])
        #expect(watched.status == 1 && watched.errors.contains("was cancelled"), "\(watched)")
      }
    }

    @Test func ctrlCLeavesTheJobAlone() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 20)) { fleet in
        let out = "\(fleet.folder)/out"
        let waiting = await fleet.startProgram(
          "weir", ["submit", "--label", "0", "--seed", "1", "--steps", "base32=60", "--out", out, "--broker", await fleet.endpoint])
        let line = try await waiting.line(containing: "running")
        let job = try #require(line.split(separator: " ").dropFirst().first.map(String.init))
        await waiting.signal(SIGINT)
        #expect(try await waiting.end() == 130)
        try await waiting.line(containing: "weir watch \(job) --out \(out)")
        let watched = try await weir(fleet, ["watch", job, "--out", out])
        #expect(watched.status == 0 && lines(watched) == ["\(out)/\(job)-0.png"], "\(watched)")
      }
    }

    @Test func submitOutlivesTheBroker() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 10)) { fleet in
        let waiting = await fleet.startProgram(
          "weir",
          [
            "submit", "--label", "0", "--seed", "1", "--steps", "base32=60", "--out", "\(fleet.folder)/out", "--broker",
            await fleet.endpoint,
          ])
        try await waiting.line(containing: "running")
        try await fleet.replaceBroker()
        #expect(try await waiting.end() == 0)
      }
    }
  }
}
