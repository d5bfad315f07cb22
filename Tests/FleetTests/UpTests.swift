import Client
import Foundation
import Glibc
import Testing
import Wire

extension FleetTests {
  /// `weir up`.
  @Suite struct UpTests {
    /// Starts a fleet with `weir up`; ends it afterwards.
    ///
    /// - Parameter pipeline: a pipeline's folder; `nil`: the engine is the synthetic one.
    private func with(
      _ arguments: [String] = [], pipeline: String? = nil, _ body: (Program, _ endpoint: String) async throws -> Void
    ) async throws {
      let data = FileManager.default.temporaryDirectory.appending(path: "weir-up-\(UUID().uuidString)").path
      defer { try? FileManager.default.removeItem(atPath: data) }
      let engine = pipeline.map { ["--pipeline", $0] } ?? ["--engine", "synthetic", "--step-ms", "5"]
      let fleet = Program("weir", ["up"] + engine + ["--bind", "tcp://127.0.0.1:*", "--data", data] + arguments)
      do {
        let endpoint = try await ready(fleet)
        try await body(fleet, endpoint)
      } catch {
        await fleet.kill()
        print(await fleet.output)
        throw error
      }
      await fleet.kill()
    }

    private func ready(_ fleet: Program) async throws -> String {
      let line = try await fleet.ready()
      let field = line.split(separator: " ").first { $0.hasPrefix("broker=") }
      return String(try #require(field, "\(line)").dropFirst(7))
    }

    private func waitForEnd(of pids: [Int32]) async throws {
      for pid in pids {
        while Glibc.kill(pid, 0) == 0 { try await Task.sleep(for: .milliseconds(10)) }
      }
    }

    @Test func aWorkerThatDiesComesBack() async throws {
      try await with(["--workers", "sr64=2"]) { fleet, endpoint in
        #expect(await fleet.output.contains("ready broker=\(endpoint) workers=4"))
        let client = try WeirClient(broker: endpoint)
        let workers = try await client.workers()
        #expect(workers.map(\.name).sorted() == ["base32-1", "sr256-1", "sr64-1", "sr64-2"])
        let victim = try #require(workers.first { $0.name == "base32-1" })
        let submission = Submission(
          runs: [SampleRun(label: "class-1", seed: 10, count: 3)], options: steps(60, 5, 5), key: "before")
        let job = try await client.submit(submission).job
        Glibc.kill(Int32(victim.pid), SIGKILL)
        try await fleet.line(containing: "base32-1: ended by signal 9; starts again")
        #expect(try await client.finished(job).state == .done)
        try await expectReference(job, of: submission, from: client)
        #expect(try await client.workers().first { $0.name == "base32-1" }?.pid != victim.pid)
      }
    }

    @Test func aWorkerMayServeEveryStage() async throws {
      try await with(["--workers", "base32+sr64+sr256=2"]) { fleet, endpoint in
        #expect(await fleet.output.contains("ready broker=\(endpoint) workers=2"))
        let client = try WeirClient(broker: endpoint)
        let workers = try await client.workers()
        #expect(workers.count == 6 && Set(workers.map(\.pid)).count == 2, "\(workers)")
        #expect(Set(workers.map { "\($0.pid) \($0.stage)" }).count == 6, "\(workers)")
        let submission = Submission(
          runs: [SampleRun(label: "class-1", seed: 10, count: 8)], options: steps(60, 5, 5), key: "shared")
        let job = try await client.submit(submission).job
        // One of the two hands back what it has of every stage.
        Glibc.kill(Int32(workers[0].pid), SIGTERM)
        #expect(try await client.finished(job).state == .done)
        try await expectReference(job, of: submission, from: client)
      }
    }

    /// A worker's arguments.
    private func arguments(of worker: WorkerStatus) throws -> [String] {
      try String(contentsOfFile: "/proc/\(worker.pid)/cmdline", encoding: .utf8).split(separator: "\0").map(String.init)
    }

    @Test func batchesMayBeFilledOnce() async throws {
      for (flags, batching) in [([], "step"), (["--batching", "request"], "request")] {
        try await with(flags) { _, endpoint in
          for worker in try await WeirClient(broker: endpoint).workers() {
            #expect(try arguments(of: worker).suffix(2) == ["--batching", batching])
          }
        }
      }
    }

    @Test func coresAreDividedByWhatStagesCost() async throws {
      let pipeline = try TinyPipeline()
      defer { pipeline.remove() }
      for (cores, reason) in [
        (6, "workers: 6 cores"), (2, "workers: 2 cores, shared by 2 × 1 workers × threads of every stage: they are fewer"),
      ] {
        try await with(["--cores", "\(cores)"], pipeline: pipeline.folder) { fleet, endpoint in
          let line = try await fleet.line(containing: reason)
          let workers = try await WeirClient(broker: endpoint).workers()
          #expect(Set(workers.map(\.stage)) == Set(TinyPipeline.stages), "\(line): \(workers)")
          var threads: [UInt32: Int] = [:]
          for worker in workers {
            let flags = try arguments(of: worker)
            let index = try #require(flags.firstIndex(of: "--threads"), "\(flags)")
            threads[worker.pid] = Int(flags[index + 1])
          }
          #expect(threads.values.reduce(0, +) == cores, "\(line): \(threads)")
        }
      }
      // What is said is not measured.
      try await with(["--threads", "1", "--slots", "2"], pipeline: pipeline.folder) { fleet, endpoint in
        #expect(await fleet.lines { $0.hasPrefix("workers: ") }.isEmpty)
        let workers = try await WeirClient(broker: endpoint).workers()
        #expect(workers.map(\.slots) == [2, 2, 2])
      }
    }

    @Test func aWorkerSaysWhatItsStagesCost() async throws {
      struct Line: Decodable {
        let stage: String
        let steps: Int
        let stepMs: Double
      }
      let pipeline = try TinyPipeline()
      defer { pipeline.remove() }
      func profile(_ stages: String) async throws -> CommandResult {
        try await run("weir-worker", ["--profile", "--pipeline", pipeline.folder, "--stage", stages, "--threads", "1"])
      }
      let result = try await profile("sr16,base8")
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      let lines = try result.output.split(separator: "\n").map { try decoder.decode(Line.self, from: Data($0.utf8)) }
      #expect(result.status == 0 && lines.map(\.stage) == ["sr16", "base8"], "\(result)")
      #expect(lines.allSatisfy { $0.stepMs > 0 && $0.steps > 0 }, "\(lines)")
      let wrong = try await profile("base8,sr17")
      #expect(wrong.status == 1 && wrong.errors.contains("sr17"), "\(wrong)")
    }

    @Test func theBrokerComesBackWhereItWas() async throws {
      try await with { fleet, endpoint in
        let client = try WeirClient(broker: endpoint)
        let submission = Submission(runs: [SampleRun(label: "class-1", seed: 10, count: 3)], options: steps(60, 5, 5), key: "before")
        let job = try await client.submit(submission).job
        let children = try children(of: await fleet.pid)
        let broker = try #require(children.first { $0.name == "weir-broker" })
        Glibc.kill(broker.pid, SIGKILL)
        try await fleet.line(containing: "broker: ended by signal 9; starts again")
        #expect(try await client.finished(job).state == .done)
        try await expectReference(job, of: submission, from: client)
      }
    }

    @Test func sigtermStopsItInOrder() async throws {
      try await with { fleet, _ in
        let children = try children(of: await fleet.pid)
        #expect(children.map(\.name).sorted() == ["weir-broker", "weir-worker", "weir-worker", "weir-worker"])
        await fleet.signal(SIGTERM)
        #expect(try await fleet.end() == 0)
        try await waitForEnd(of: children.map(\.pid))
      }
    }

    @Test func nobodyOutlivesIt() async throws {
      try await with { fleet, _ in
        let children = try children(of: await fleet.pid)
        #expect(children.count == 4)
        await fleet.signal(SIGKILL)
        _ = try await fleet.end()
        try await waitForEnd(of: children.map(\.pid))
      }
    }

    @Test func aPortThatIsTaken() async throws {
      try await with { _, endpoint in
        let data = FileManager.default.temporaryDirectory.appending(path: "weir-up-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: data) }
        let result = try await run("weir", ["up", "--engine", "synthetic", "--bind", endpoint, "--data", data])
        #expect(result.status == 1, "\(result)")
        #expect(result.errors.contains("in use") && result.errors.contains("broker ended before it was ready"), "\(result)")
      }
    }

    @Test func pipelinesThatAreNone() async throws {
      for (arguments, words) in [
        (["up"], "--pipeline is missing"), (["up", "--pipeline", "/nonexistent"], "/nonexistent/cascade.json"),
        (["up", "--engine", "synthetic", "--workers", "sr512=1"], "sr512"),
      ] {
        let result = try await run("weir", arguments)
        #expect(result.status == 2, "\(arguments): \(result)")
        #expect(result.errors.contains(words), "\(arguments): \(result)")
      }
    }

    /// The children of a process, as `ps` names them.
    private func children(of process: Int32?) throws -> [(name: String, pid: Int32)] {
      let parent = try #require(process)
      return try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { entry in
        guard let pid = Int32(entry), let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8) else { return nil }
        // pid (name) state parent …
        guard let open = stat.firstIndex(of: "("), let close = stat.lastIndex(of: ")") else { return nil }
        let rest = stat[stat.index(after: close)...].split(separator: " ")
        guard rest.count > 1, Int32(rest[1]) == parent else { return nil }
        return (String(stat[stat.index(after: open)..<close]), pid)
      }
    }
  }
}
