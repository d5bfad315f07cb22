import Client
import Foundation
import Images
import Testing
import Wire
import Worker

extension FleetTests {
  @Suite struct JobTests {
    @Test func manySamplesAcrossTwoWorkersAStage() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 2), perStage: 2) { fleet in
        let client = try await fleet.client
        let runs = (0..<12).map { SampleRun(label: "class-\($0)", seed: UInt64($0) * 1000, count: 2) }
        let whole = Submission(runs: runs, options: steps(6, 4, 3))
        let job = try await client.submit(whole).job
        #expect(try await client.finished(job).state == .done)
        try await expectReference(job, of: whole, from: client)
        // Both of each stage had a hand in it.
        let workers = try await client.workers()
        #expect(workers.count == 6)
        #expect(workers.allSatisfy { $0.finished > 0 }, "\(workers.map { ($0.name, $0.finished) })")
        #expect(workers.reduce(0) { $0 + $1.finished } == 72)

        // The same samples as jobs of their own, all at once.
        let singles = runs.flatMap { run in
          (0..<run.count).map { Submission(runs: [SampleRun(label: run.label, seed: run.seed + UInt64($0))], options: whole.options) }
        }
        let jobs = try await withThrowingTaskGroup(of: (Int, JobID).self) { group in
          for (index, single) in singles.enumerated() { group.addTask { (index, try await client.submit(single).job) } }
          return try await group.reduce(into: [Int: JobID]()) { $0[$1.0] = $1.1 }
        }
        for (index, single) in singles.enumerated() {
          let own = try #require(jobs[index])
          #expect(try await client.finished(own).state == .done)
          let image = try await client.fetch(own, sample: 0)
          #expect(image.tensor == (try await client.fetch(job, sample: UInt32(index))).tensor, "\(single.runs)")
        }
      }
    }

    @Test func threeClientsGetTheirOwnImages() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 2)) { fleet in
        let endpoint = await fleet.endpoint
        let labels = [2, 5, 11]
        let results = try await withThrowingTaskGroup(of: (Int, CommandResult).self) { group in
          for label in labels {
            let arguments = [
              "submit", "--broker", endpoint, "--label", "class-\(label)", "--seed", "\(label)", "--count", "2", "--steps",
              "base32=5,sr64=4,sr256=3", "--out", "\(fleet.folder)/\(label)", "--json",
            ]
            group.addTask { (label, try await run("weir", arguments)) }
          }
          return try await group.reduce(into: [Int: CommandResult]()) { $0[$1.0] = $1.1 }
        }
        for label in labels {
          let result = try #require(results[label])
          try #require(result.status == 0, "\(result)")
          let images = try jsonLines(result.output).filter { $0["event"] as? String == "image" }
          #expect(images.count == 2)
          for image in images {
            let sample = try #require(image["sample"] as? Int)
            let path = try #require(image["path"] as? String)
            #expect(path.hasPrefix("\(fleet.folder)/\(label)/"))
            let expected = try SyntheticEngine.reference(label: UInt32(label), seed: UInt64(label + sample), options: steps(5, 4, 3))
            let decoded = try RGBImage(png: [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
            #expect(decoded == RGBImage(chw: expected.floats(), width: 256, height: 256), "label \(label), sample \(sample)")
          }
          let files = try FileManager.default.contentsOfDirectory(atPath: "\(fleet.folder)/\(label)")
          #expect(files.count == 3 && files.contains("contact-sheet.png"), "\(files)")
        }
      }
    }

    @Test func aCancelledJobStopsAndMakesRoom() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 5), slots: 2) { fleet in
        // It never asks twice: the second answer would count what the first request left to cancel.
        let client = try WeirClient(
          broker: await fleet.endpoint, options: .init(resendAfter: .seconds(60), patience: .seconds(60), watchSilence: .seconds(60)))
        let long = Submission(runs: [SampleRun(label: "0", seed: 0, count: 8)], options: steps(20, 1000, 1000))
        let job = try await client.submit(long).job
        var states = JobStates(job, of: client)
        try await states.first { $0.hasBegun("sr64") }
        let cancelled = try await client.cancel(job)
        #expect(cancelled.stopped > 0 && cancelled.tooLate == 0)
        #expect(cancelled.stopped + cancelled.queued == 8)
        let last = try await states.first { $0.state.isFinal }
        #expect(last.state == .cancelled)

        // The slots are free for others now, and the cancelled job does not move any more.
        let small = Submission(runs: [SampleRun(label: "1", seed: 1, count: 2)], options: steps(3, 3, 3))
        let other = try await client.submit(small).job
        #expect(try await client.finished(other).state == .done)
        try await expectReference(other, of: small, from: client)
        let still = try await client.status(of: job)
        #expect(still.stages == last.stages)
        #expect(try await client.workers().allSatisfy { $0.running == 0 })
        #expect(try await client.cancel(job).tooLate == 0)
      }
    }
  }
}

func jsonLines(_ text: String) throws -> [[String: Any]] {
  try text.split(separator: "\n").map { line in
    try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any], "\(line)")
  }
}
