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
      let record = try await LoadRun(settings, client: client).run()
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

    /// An oracle that expects something else stands for a worker that computes something else.
    @Test func aWrongImageIsNamed() async throws {
      struct Contrarian: Verifier {
        func expectedDigest(label: UInt32, seed: UInt64, options: [StageOptions]) throws -> [UInt8] {
          try SyntheticVerifier().expectedDigest(label: label, seed: seed &+ 1, options: options)
        }
      }
      try await Fleet.with(.synthetic(stepMilliseconds: 1)) { fleet in
        let (report, _) = try await run(fleet, .constant(rate: 4), JobMix(kinds: [quick.kinds[0]]), seconds: 1, verifier: Contrarian())
        #expect(report.verified > 0 && report.wrong == report.verified)
        #expect(
          report.wrongImages.allSatisfy { $0.stage == "sr256" && $0.worker.hasPrefix("sr256") && $0.attempt == 1 }, "\(report.wrongImages)")
      }
    }
  }
}
