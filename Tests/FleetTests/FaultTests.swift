import Client
import Glibc
import Testing
import Wire
import Worker

extension FleetTests {
  /// Processes are killed at work; every image comes out as if nothing had been.
  @Suite struct FaultTests {
    private let submission = Submission(
      runs: [SampleRun(label: "class-1", seed: 10, count: 4), SampleRun(label: "7", seed: .max, count: 2)], options: steps(80, 80, 80))

    @Test func eachStagesWorkerIsKilledAtWork() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 10), deadMilliseconds: Fleet.quickDeath) { fleet in
        let client = try await fleet.client
        let job = try await client.submit(submission).job
        var states = JobStates(job, of: client)
        for stage in syntheticStages {
          try await states.first { $0.hasBegun(stage) }
          try await fleet.replaceWorker(stage, name: "\(stage)-1")
        }
        #expect(try await client.finished(job).state == .done)
        try await expectReference(job, of: submission, from: client)
      }
    }

    @Test func theBrokerIsKilledAtWork() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 10), deadMilliseconds: Fleet.quickDeath) { fleet in
        let client = try await fleet.client
        var keyed = submission
        keyed.key = "once"
        let job = try await client.submit(keyed).job
        var states = JobStates(job, of: client)
        for stage in syntheticStages {
          try await states.first { $0.hasBegun(stage) }
          try await fleet.replaceBroker()
          let again = try await client.submit(keyed)
          #expect(again.job == job && again.duplicate)
        }
        #expect(try await client.finished(job).state == .done)
        try await expectReference(job, of: submission, from: client)
        // The workers found their way back by themselves.
        for stage in syntheticStages {
          #expect(try await fleet.worker("\(stage)-1").pid != nil)
        }
      }
    }

    @Test func aDrainedWorkerHandsItsWorkBack() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 10)) { fleet in
        let client = try await fleet.client
        let job = try await client.submit(submission).job
        var states = JobStates(job, of: client)
        try await states.first { $0.hasBegun("base32") }
        let leaving = try await fleet.worker("base32-1")
        await leaving.signal(SIGTERM)
        #expect(try await leaving.end() == 0)
        await fleet.startWorker("base32", name: "base32-2")
        #expect(try await client.finished(job).state == .done)
        try await expectReference(job, of: submission, from: client)
      }
    }

    /// Neither the broker nor a worker may take garbage for anything, be hurt by it, or let it disturb the work of others.
    @Test func garbageOnBothEndpointsDisturbsNobody() async throws {
      try await Fleet.with(.synthetic(stepMilliseconds: 10)) { fleet in
        let client = try await fleet.client
        let job = try await client.submit(submission).job
        var states = JobStates(job, of: client)
        try await states.first { $0.hasBegun("base32") }
        let endpoints = [await fleet.endpoint, await fleet.workerEndpoint]
        for (number, endpoint) in endpoints.enumerated() {
          let garbage = try Garbage(seed: UInt64(number))
          try await garbage.send(to: endpoint, messages: 300)
          try await garbage.sendRaw(to: endpoint, connections: 20)
        }
        #expect(try await client.finished(job).state == .done)
        try await expectReference(job, of: submission, from: client)
        #expect(await fleet.broker.pid != nil)
        #expect(try await client.workers().count == 3)
      }
    }
  }
}
