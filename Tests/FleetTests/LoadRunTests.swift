import Client
import Load
import Testing
import Wire

extension FleetTests {
  /// `weir-load run`, its parts in this process, against a fleet of real ones.
  @Suite struct LoadRunTests {
    private func run(
      _ fleet: Fleet, _ pattern: ArrivalPattern, _ mix: JobMix, seconds: Double, verifier: any Verifier = SyntheticVerifier()
    ) async throws -> (LoadReport, LoadRecord) {
      let settings = LoadRun.Settings(pattern: pattern, mix: mix, duration: seconds, warmUp: 0, seed: 3, verifier: verifier)
      let client = try WeirClient(broker: await fleet.endpoint)
      let record = try await LoadRun(settings, clients: [client]).run()
      await client.close()
      return (LoadReport(record, of: settings, pattern: "\(pattern)"), record)
    }

    private var quick: JobMix {
      var plain = JobMix.Kind()
      plain.steps = ["base32": 2, "sr64": 2, "sr256": 2]
      var held = plain
      held.tenant = "b"
      held.count = 3
      held.holdAfter = "base32"
      return JobMix(kinds: [plain, held])
    }

    @Test func anOpenLoopIsFollowedToItsEnd() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 1)) { fleet in
        let (report, record) = try await run(fleet, .poisson(rate: 8), quick, seconds: 3)
        let arrivals = Array(Arrivals(.poisson(rate: 8), duration: 3, seed: 3))
        #expect(record.outcomes.map(\.intended) == arrivals)
        #expect(record.outcomes.allSatisfy { $0.end == .done }, "\(record.outcomes.map(\.end))")
        // Of a held job one sample goes on.
        #expect(report.verified == arrivals.count && report.wrong == 0)
        #expect(Set(report.stages.keys) == ["base32", "sr64", "sr256"] && report.latencyMs.count == arrivals.count)
        #expect(report.tenants.count == 2 && report.fairness != nil)
      }
    }

    @Test func aClosedLoopKeepsSoManyOpen() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 1)) { fleet in
        let (report, record) = try await run(fleet, .closed(concurrency: 3), JobMix(kinds: [quick.kinds[0]]), seconds: 2)
        #expect(report.jobs.done == record.outcomes.count && report.jobs.done >= 3 && report.wrong == 0)
        for outcome in record.outcomes {
          let beside = record.outcomes.count { $0.submitted <= outcome.submitted && $0.ended > outcome.submitted }
          #expect(beside <= 3)
        }
      }
    }

    /// One flipped bit in a few results of one worker among others, in the middle of the pipeline: each image that it spoilt is found, and the
    /// blame is the stage's that went wrong, not the last one's.
    @Test func aWorkerThatFlipsABitIsNamed() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 1)) { fleet in
        let liar = await fleet.startProgram(
          "weir-load",
          [
            "lying-worker", "--stage", "sr64", "--broker", await fleet.endpoint, "--name", "liar", "--step-ms", "1", "--slots", "4",
            "--lie",
            "sometimes", "--one-in", "5",
          ])
        try await liar.ready()
        var kind = JobMix.Kind()
        kind.steps = ["base32": 10, "sr64": 10, "sr256": 10]
        let (report, record) = try await run(fleet, .closed(concurrency: 8), JobMix(kinds: [kind]), seconds: 1)
        #expect(report.wrong > 0 && report.wrong < report.verified && report.verified == record.outcomes.count)
        #expect(report.wrongImages.allSatisfy { $0.stage == "sr64" && $0.worker == "liar" && $0.attempt == 1 }, "\(report.wrongImages)")
        // Every fifth of the liar's results, those of the jobs that ran alone before included.
        let lies = record.histories.flatMap(\.attempts).count { $0.worker == "liar" } / 5
        #expect(abs(report.wrong - lies) <= 1, "\(report.wrong) wrong of \(lies)")
      }
    }

    /// The serial reference draws the images of a fleet of networks once more, every stage of them.
    @Test func imagesOfNetworksAreCompared() async throws {
      let pipeline = try TinyPipeline()
      defer { pipeline.remove() }
      let verifier = LabVerifier(executables: Program.folder, pipeline: pipeline.folder)
      var kind = JobMix.Kind()
      kind.steps = ["base8": 2, "sr16": 2, "sr32": 1]
      try await Fleet.with(.cascade(pipeline: pipeline.folder)) { fleet in
        let (report, record) = try await run(fleet, .constant(rate: 4), JobMix(kinds: [kind]), seconds: 2, verifier: verifier)
        #expect(report.verified == record.outcomes.count && report.verified > 0 && report.wrong == 0)
        let histories = record.histories.flatMap(\.attempts)
        #expect(!histories.isEmpty && histories.allSatisfy { $0.digest != nil })
      }
    }
  }
}
