import Foundation
import Load
import Logging
import Testing
import Wire
import ZeroMQ

@testable import Broker

/// Outputs of stages that the next stage takes up at once.
struct DraftTests {
  let folder = TemporaryFolder()
  let pipeline = makePipeline(stages: 3)
  let job = JobID(rawValue: 5)

  func draft(_ sample: UInt32, stage: UInt32 = 0, resolution: UInt32 = 64) throws -> (TaskID, StageOutcome, WireTensor) {
    let tensor = Oracle.output(UInt64(sample) << 8 | UInt64(stage), resolution: resolution)
    let outcome = StageOutcome(digest: try #require(ContentDigest(tensor.digest)), numerics: "cpu", bytes: UInt64(tensor.data.count))
    return (TaskID(job: job, sample: sample, stage: stage), outcome, tensor)
  }

  func done(_ sample: UInt32, stage: UInt32 = 0, resolution: UInt32 = 64) throws -> Broker.Record {
    let (task, outcome, tensor) = try draft(sample, stage: stage, resolution: resolution)
    return .draftDone(task, outcome, output: tensor)
  }

  func key(_ sample: UInt32, stage: UInt32 = 0) -> TensorKey { TensorKey(job: job, sample: sample, stage: stage) }

  // MARK: Memory

  @Test func whatHasNoRoomIsWritten() throws {
    var memory = DraftMemory(limit: 2 * 12 * 64 * 64)
    for sample in 0..<3 as Range<UInt32> {
      let record = memory.take(try done(sample))
      switch record {
      case .draftDone: #expect(sample < 2)
      case .stageDone(let task, _, let output): #expect(sample == 2 && task.sample == 2 && output == Oracle.output(512, resolution: 64))
      default: Issue.record("\(record)")
      }
      #expect((memory[key(sample)] != nil) == (sample < 2))
    }
    #expect(memory.bytes == 2 * 12 * 64 * 64)
    // The next stage's draft takes the room of its input.
    if case .draftDone = memory.take(try done(0, stage: 1)) {} else { Issue.record("there was room") }
    #expect(memory[key(0)] == nil && memory[key(0, stage: 1)] != nil && memory.bytes == 2 * 12 * 64 * 64)
    var none = DraftMemory(limit: 0)
    if case .stageDone = none.take(try done(0)) {} else { Issue.record("it was not written") }
    #expect(none.records.isEmpty && none.bytes == 0)
  }

  @Test func whatNobodyNeedsGoes() throws {
    let (last, outcome, tensor) = try draft(1, stage: 2)
    let endings: [(Broker.Record, left: [UInt32])] = [
      (.stageDone(TaskID(job: job, sample: 1, stage: 1), outcome, output: tensor), [0, 2]),
      (.restarted(TaskRef(TaskID(job: job, sample: 1, stage: 0), attempt: 65_536)), [0, 2]),
      (.chosen(job, cancelled: [0, 2]), [1]), (.finished(job, .cancelled, unixMilliseconds: 1), []), (.forgotten(job), []),
      (.stageDone(last, outcome, output: tensor), [0, 1, 2]), (.finished(JobID(rawValue: 6), .done, unixMilliseconds: 1), [0, 1, 2]),
      (.leased(TaskRef(TaskID(job: job, sample: 1, stage: 1), attempt: 1)), [0, 1, 2]),
    ]
    for (record, left) in endings {
      var memory = DraftMemory(limit: 1 << 20)
      for sample in 0..<3 as Range<UInt32> { _ = memory.take(try done(sample)) }
      _ = memory.take(record)
      #expect((0..<3).filter { memory[key($0)] != nil } == left, "after \(record)")
      #expect(memory.bytes == left.count * 12 * 64 * 64 && memory.records.count == left.count, "after \(record)")
    }
  }

  // MARK: Journal

  @Test func aDraftThatIsNotWrittenIsNotKept() throws {
    let journal = try Journal(directory: folder.path)
    let seeds = (0..<4).map { SampleSeed(label: 0, seed: $0) }
    let options = pipeline.stages.map { StageOptions(stage: $0.name, steps: 4) }
    try journal.commit([
      .pipeline(pipeline),
      .accepted(
        JobRecord(
          id: job, sequence: 1, pipeline: pipeline.digest, key: "", options: options, truncated: false, submittedUnixMilliseconds: 0,
          samples: seeds)), try done(0), try done(1, resolution: 8), try done(2), try done(2, stage: 1),
    ])
    func isKept(_ key: TensorKey) -> Bool {
      do throws(JournalError) {
        _ = try journal.output(key)
        return true
      } catch {
        #expect(error.code == .notKept)
        return false
      }
    }
    for key in [key(0), key(1), key(2), key(2, stage: 1)] { #expect(!isKept(key)) }
    var model = JournalModel()
    let jobs = try journal.restore().jobs
    #expect(jobs.first?.samples.map(\.outcomes.count) == [1, 1, 2, 0])
    // After all.
    for (sample, stage, resolution) in [(0, 0, 64), (1, 0, 8), (2, 1, 64)] as [(UInt32, UInt32, UInt32)] {
      let (task, outcome, tensor) = try draft(sample, stage: stage, resolution: resolution)
      try journal.commit([.draftKept(task, outcome, output: tensor)])
      #expect(try journal.output(key(sample, stage: stage)) == tensor)
    }
    #expect(try journal.restore().jobs == jobs)
    try journal.close()
    #expect(try JournalCheck(directory: folder.path).findings == [])
    // What makes sense to a journal does so to its model.
    model.apply(.pipeline(pipeline))
    if let record = jobs.first?.record { model.apply(.accepted(record)) }
    for record in [try done(0), try done(1, resolution: 8), try done(2), try done(2, stage: 1)] { model.apply(record) }
    #expect(model.faults == [] && model.snapshot.jobs == jobs && model.outputs.isEmpty && model.unwritten.count == 3)
  }

  // MARK: Core

  @Test func aDraftIsCheckedByItsChecksumAndAnImageByItsDigest() throws {
    let driver = CoreDriver()
    let two = makePipeline()
    driver.hello("a", makeHello("a", pipeline: two, slots: 4))
    driver.hello("b", makeHello("b", pipeline: two, stage: 1, slots: 4))
    let job = driver.submit(4)
    let assignments = driver.takeAssignments("a")
    func answer(_ assignment: Assignment, at peer: PeerID, _ change: (inout TaskResult) -> Void) {
      var result = driver.result(assignment, pipeline: two)
      result.checksum = result.tensor.checksum
      change(&result)
      driver.handle(.worker(peer, .result(result)))
    }
    answer(assignments[0], at: "a") { _ in }
    answer(assignments[1], at: "a") { $0.checksum ^= 1 }
    answer(assignments[2], at: "a") { $0.digest[0] ^= 1 }
    // One of an older version.
    answer(assignments[3], at: "a") {
      $0.digest[0] ^= 1
      $0.checksum = 0
    }
    #expect(driver.status(job)?.stages[0].done == 2)
    let images = driver.takeAssignments("b")
    #expect(images.map(\.task.task.sample) == [0, 2])
    answer(images[0], at: "b") { $0.digest[0] ^= 1 }
    answer(images[1], at: "b") { $0.checksum ^= 1 }
    #expect(driver.status(job)?.stages[1].done == 1)
  }

  /// What somebody looks at before it goes on is as good as an image.
  @Test func onlyWhatGoesOnAtOnceIsADraft() throws {
    for (hold, drafts) in [("", 2), (pipeline.stages[0].name, 1), (pipeline.stages[1].name, 1)] {
      let driver = CoreDriver(draftBytes: 1 << 20)
      for stage in 0..<3 { driver.hello(PeerID([UInt8(stage)]), makeHello("w\(stage)", pipeline: pipeline, stage: stage)) }
      let reply = driver.ask(.submit(Submission(runs: [SampleRun(label: "clay", seed: 5)], holdAfter: hold)))
      guard case .accepted(let acceptance) = reply else {
        Issue.record("\(String(describing: reply))")
        return
      }
      driver.drain((0..<3).map { PeerID([$0]) }, pipeline: pipeline)
      if !hold.isEmpty {
        #expect(driver.status(acceptance.job)?.state == .held)
        driver.ask(.release(acceptance.job, keep: [0]))
        driver.drain((0..<3).map { PeerID([$0]) }, pipeline: pipeline)
      }
      #expect(driver.status(acceptance.job)?.state == .done)
      #expect(driver.records.count { if case .draftDone = $0 { true } else { false } } == drafts)
      #expect(driver.records.count { if case .stageDone = $0 { true } else { false } } == 3 - drafts)
    }
  }

  /// However often a broker ends: nothing is damaged.
  @Test func aDraftThatWentWithABrokerIsMadeAgain() throws {
    let driver = CoreDriver(draftBytes: 1 << 20)
    let two = makePipeline()
    driver.hello("a", makeHello("a", pipeline: two))
    driver.hello("b", makeHello("b", pipeline: two, stage: 1))
    let job = driver.submit()
    for life in 0..<3 as Range<UInt32> {
      let assignment = try #require(driver.takeAssignments("a").first)
      #expect(assignment.task.attempt == life << 16 + 1)
      driver.handle(.worker("b", .goodbye(reason: "")))
      driver.finish(assignment, at: "a", pipeline: two)
      #expect(driver.status(job)?.stages.map(\.done) == [1, 0])
      driver.restart()
      driver.hello("b", makeHello("b", pipeline: two, stage: 1))
      #expect(driver.takeAssignments("b").isEmpty && driver.status(job)?.stages.map(\.done) == [0, 0])
      driver.hello("a", makeHello("a", pipeline: two))
    }
    driver.drain(["a", "b"], pipeline: two)
    #expect(driver.status(job)?.state == .done)
    let said = driver.records.count { record in
      if case .attempted(_, let attempt) = record { attempt.reason?.contains("memory") == true } else { false }
    }
    #expect(said == 3)
  }

  // MARK: Broker

  /// A broker with drafts in memory has a worker of the first stage only; then another one, on its disk, has workers of both.
  ///
  /// - Parameter copiesDisk: the other one finds what is on the disk while the first still runs; else what it leaves when it stops.
  /// - Returns: the samples whose first stage was done again.
  func samplesDoneAgain(copiesDisk: Bool) async throws -> [UInt32] {
    let copy = TemporaryFolder()
    let two = makePipeline()
    var job: JobID?
    func withBroker(_ folder: String, _ body: (BrokerService.Endpoints) async throws -> Void) async throws {
      let loop = try SocketLoop(name: "broker-test")
      defer { loop.stop() }
      var configuration = BrokerConfiguration(clients: try BindAddress("tcp://127.0.0.1:*"), dataDirectory: folder)
      configuration.draftBytes = 1 << 20
      let broker = BrokerService(configuration, on: loop, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
      try await body(try await broker.start())
      await broker.stop()
    }
    try await withBroker(folder.path) { endpoints in
      let peers = try TestPeers(endpoints)
      defer { peers.close() }
      peers.addWorker(makeHello("w0", pipeline: two, slots: 3))
      guard case .accepted(let acceptance) = try peers.ask(.submit(Submission(runs: [SampleRun(label: "wood", seed: 3, count: 5)]))) else {
        Issue.record("not accepted")
        return
      }
      job = acceptance.job
      while true {
        guard case .jobs(let jobs) = try peers.ask(.status(acceptance.job, limit: 0)), jobs.first?.stages[0].done != 5 else { break }
      }
      // The drafts are there for who wants to see them.
      guard case .image(let image) = try peers.ask(.fetch(acceptance.job, sample: 4, stage: two.stages[0].name)) else {
        Issue.record("no draft")
        return
      }
      #expect(image.tensor.digest == image.digest)
      // As a broker leaves it that is killed now: all that it said is there.
      guard copiesDisk else { return }
      for file in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
        try FileManager.default.copyItem(atPath: "\(folder.path)/\(file)", toPath: "\(copy.path)/\(file)")
      }
    }
    var again: [UInt32] = []
    try await withBroker(copiesDisk ? copy.path : folder.path) { endpoints in
      let peers = try TestPeers(endpoints)
      defer { peers.close() }
      for stage in 0..<2 { peers.addWorker(makeHello("w\(stage)", pipeline: two, stage: stage, slots: 3)) }
      let id = try #require(job)
      let status = try peers.watch(id)
      #expect(status.state == .done)
      for index in 0..<5 as Range<UInt32> {
        guard case .image(let image) = try peers.ask(.fetch(id, sample: index)) else {
          Issue.record("no image \(index)")
          continue
        }
        #expect(image.tensor == Oracle.image(label: 1, seed: 3 + UInt64(index), pipeline: two, options: status.options))
      }
      guard case .history(let attempts) = try peers.ask(.history(id, sample: 0)) else {
        Issue.record("no history")
        return
      }
      again = attempts.filter { $0.stage == 0 && $0.number > 1 && $0.state == .done }.map(\.sample)
    }
    return again
  }

  @Test func aBrokerThatStopsWritesItsDrafts() async throws {
    #expect(try await samplesDoneAgain(copiesDisk: false) == [])
  }

  @Test func aBrokerThatIsKilledLosesOnlyTime() async throws {
    #expect(try await samplesDoneAgain(copiesDisk: true) == [0, 1, 2, 3, 4])
  }
}
