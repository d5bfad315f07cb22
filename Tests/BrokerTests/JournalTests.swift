import Foundation
import Glibc
import Load
import SeededRandom
import Testing
import Wire
import ZeroMQ

@testable import Broker

struct JournalTests {
  let folder = TemporaryFolder()
  let pipeline = makePipeline(stages: 3)
  let job = JobID(rawValue: .max - 5)

  var file: String { folder.path + "/journal.sqlite" }

  func record(_ id: JobID, sequence: UInt64 = 0, samples: Int = 2, key: String = "") -> JobRecord {
    JobRecord(
      id: id, sequence: sequence, pipeline: pipeline.digest, key: key,
      options: pipeline.stages.map { StageOptions(stage: $0.name, steps: 4, sampler: "ddim", eta: 0.25, aug: 7, guidance: 1.5) },
      truncated: true,
      submittedUnixMilliseconds: .max, samples: (0..<samples).map { SampleSeed(label: UInt32($0), seed: .max - UInt64($0)) })
  }

  func outcome(_ tensor: WireTensor, _ numerics: String = "cpu") throws -> StageOutcome {
    StageOutcome(digest: try #require(ContentDigest(tensor.digest)), numerics: numerics, bytes: UInt64(tensor.data.count))
  }

  /// Random records that make sense, from a core at work. What the journal holds has to be what the model holds, at every reopening. With images
  /// of 64 pixels a side tensors are in files of their own, which are so small that they come, move and go all the time.
  @Test(arguments: 1...4 as ClosedRange<UInt64>, [1, 64] as [UInt32])
  func aJournalIsWhatTheModelSays(seed: UInt64, resolution: UInt32) throws {
    let pipeline = makePipeline(stages: 3, resolution: resolution)
    var files = TensorFiles.Limits()
    files.fileBytes = 200_000
    files.unusedBytes = 400_000
    var random = SplitMix64(seed: seed)
    var limits = BrokerLimits()
    limits.keptSamples = 6
    limits.maxAttempts = 3
    // In every other run some drafts are in memory only.
    let driver = CoreDriver(limits, draftBytes: seed % 2 == 0 ? 4 * 12 * Int(resolution * resolution) : 0)
    var journal = try Journal(directory: folder.path, tensors: files)
    var written = 0
    var waiting: [(peer: PeerID, assignment: Assignment)] = []
    for round in 0..<160 {
      let stage = Int.random(in: 0..<3, using: &random)
      let peer = PeerID([UInt8(stage)])
      switch Int.random(in: 0..<10, using: &random) {
      case 0:
        driver.hello(peer, makeHello("w", boot: UInt64(stage), pipeline: pipeline, stage: stage, slots: 3))
      case 1 where driver.core.pipelines.count > 0:
        let run = SampleRun(label: "clay", seed: random.next(), count: UInt32.random(in: 1...4, using: &random))
        let submission = Submission(
          runs: [run], key: random.chance(0.5) ? "key \(round)" : "", tenant: random.chance(0.5) ? "tenant ä" : "",
          priority: Priority.allCases[Int.random(in: 0..<3, using: &random)],
          deadlineMilliseconds: random.chance(0.3) ? 1_000_000 : nil, holdAfter: random.chance(0.5) ? "stage0" : "")
        driver.ask(.submit(submission))
      case 2 where random.chance(0.3): driver.handle(.worker(peer, .goodbye(reason: "")))
      case 2:
        if let job = driver.store.jobs.keys.sorted().randomElement(using: &random) {
          driver.ask(random.chance(0.5) ? .retry(job, samples: []) : .release(job, keep: [0]))
        }
        driver.pass(500)
      case 3 where random.chance(0.3):
        if let job = driver.store.jobs.keys.sorted().randomElement(using: &random) { driver.ask(.cancel(job)) }
      case 4:
        if let (peer, assignment) = waiting.randomElement(using: &random) {
          let checkpoint = TaskCheckpoint(
            step: UInt32.random(in: 1...4, using: &random),
            tensors: (0..<Int.random(in: 1...3, using: &random)).map { _ in checkpointTensor(random.next()) })
          driver.handle(.worker(peer, .checkpoint(assignment.task, checkpoint)))
        }
      case 5:
        if let (peer, assignment) = waiting.randomElement(using: &random) {
          if random.chance(0.3) {
            driver.handle(.tensorsLost(assignment.task, assignment.task.task.stage > 0 && random.chance(0.5) ? .input : .checkpoint))
          } else {
            driver.handle(.worker(peer, .failure(assignment.task, reason: "it’s broken", permanent: random.chance(0.2))))
          }
        }
      default:
        for peer in [[0], [1], [2]].map(PeerID.init) {
          for assignment in driver.takeAssignments(peer) { waiting.append((peer, assignment)) }
        }
        if !waiting.isEmpty {
          let (peer, assignment) = waiting.remove(at: Int.random(in: 0..<waiting.count, using: &random))
          driver.finish(assignment, at: peer, pipeline: pipeline)
        }
      }
      if random.chance(0.2) {
        try journal.commit(driver.records[written...])
        written = driver.records.count
        if random.chance(0.3) {
          try journal.close()
          journal = try Journal(directory: folder.path, tensors: files)
        }
        if random.chance(0.5) { for _ in 0..<50 where journal.isUntidy { try journal.tidy() } }
        let read = try journal.restore()
        #expect(read == driver.store.snapshot, "seed \(seed), round \(round)")
        for job in driver.store.jobs.keys {
          let attempts = driver.store.attempts.filter { $0.key.task.job == job }.map { rounded($0.value) }
            .sorted { ($0.sample, $0.stage, $0.number) < ($1.sample, $1.stage, $1.number) }
          #expect(try journal.attempts(job, from: 0, limit: 1_000) == attempts, "seed \(seed), round \(round)")
        }
        for (key, tensor) in driver.store.outputs { #expect(try journal.output(key) == tensor) }
        for key in driver.store.unwritten.keys { #expect(code { _ = try journal.output(key) } == .notKept, "seed \(seed), round \(round)") }
        for (task, tensors) in driver.store.checkpoints { #expect(try journal.checkpoint(of: task) == tensors) }
      }
    }
    #expect(written > 50)
  }

  /// On disk times are in microseconds.
  private func rounded(_ attempt: Attempt) -> Attempt {
    var attempt = attempt
    attempt.stepMilliseconds = attempt.stepMilliseconds.map { ($0 * 1_000).rounded(.down) / 1_000 }
    return attempt
  }

  @Test func tensorsThatAreNotNeededGo() throws {
    let journal = try Journal(directory: folder.path)
    let task = TaskID(job: job, sample: 1, stage: 0)
    let output = Oracle.output(1, resolution: 1)
    try journal.commit([
      .pipeline(pipeline), .accepted(record(job)),
      .checkpoint(task, CheckpointRecord(step: 2, numerics: "cpu", bytes: 8), [checkpointTensor(2)]),
    ])
    #expect(try journal.checkpoint(of: task) == [checkpointTensor(2)])
    try journal.commit([.stageDone(task, outcome(output), output: output)])
    #expect(code { _ = try journal.checkpoint(of: task) } == .damaged)
    #expect(try journal.output(TensorKey(job: job, sample: 1, stage: 0)) == output)
    try journal.commit([.finished(job, .cancelled, unixMilliseconds: 1)])
    #expect(code { _ = try journal.output(TensorKey(job: job, sample: 1, stage: 0)) } == .notKept)
    try journal.commit([.forgotten(job)])
    #expect(code { _ = try journal.output(TensorKey(job: job, sample: 0, stage: 0)) } == .notKept)
  }

  /// Two messages of one turn: what is fetched is gone when the turn ends.
  @Test func aDraftThatMovesOnIsNotKeptAnyMore() throws {
    let journal = try Journal(directory: folder.path)
    let output = Oracle.output(1, resolution: 1)
    let first = TaskID(job: job, sample: 0, stage: 0)
    try journal.commit([.pipeline(pipeline), .accepted(record(job)), .stageDone(first, outcome(output), output: output)])
    try journal.commit([.stageDone(TaskID(job: job, sample: 0, stage: 1), outcome(output), output: output)])
    #expect(code { _ = try journal.output(TensorKey(job: job, sample: 0, stage: 0)) } == .notKept)
    #expect(try journal.output(TensorKey(job: job, sample: 0, stage: 1)) == output)
  }

  @Test func aCheckpointIsThereInWholeOrNotAtAll() throws {
    for sql in ["DELETE FROM checkpoint WHERE id & 15 = 1", "UPDATE checkpoint SET data = x'00' WHERE id & 15 = 1"] {
      let folder = TemporaryFolder()
      let journal = try Journal(directory: folder.path)
      let task = TaskID(job: job, sample: 1, stage: 0)
      let tensors = [checkpointTensor(2), checkpointTensor(3)]
      try journal.commit([
        .pipeline(pipeline), .accepted(record(job)), .checkpoint(task, CheckpointRecord(step: 2, numerics: "cpu", bytes: 16), tensors),
      ])
      #expect(try journal.checkpoint(of: task) == tensors)
      try journal.execute(sql)
      #expect(code { _ = try journal.checkpoint(of: task) } == .damaged, "\(sql)")
    }
  }

  @Test func aTurnIsCommittedWholeOrNotAtAll() throws {
    let journal = try Journal(directory: folder.path)
    try journal.commit([.pipeline(pipeline), .accepted(record(job))])
    let again = JobID(rawValue: 2)
    #expect(code { try journal.commit([.accepted(record(again)), .accepted(record(job))]) } == .writeFailed)
    #expect(try journal.restore().jobs.map(\.record.id) == [job])
    try journal.commit([.accepted(record(again, sequence: 1))])
    #expect(try journal.restore().jobs.map(\.record.id) == [job, again])
  }

  @Test func withoutSpaceNothingIsWrittenAndNothingIsLost() throws {
    let journal = try Journal(directory: folder.path)
    let small = Oracle.output(1, resolution: 1)
    try journal.commit([
      .pipeline(pipeline), .accepted(record(job)), .stageDone(TaskID(job: job, sample: 1, stage: 0), try outcome(small), output: small),
    ])
    let before = try journal.restore()
    let large = try WireTensor(name: "x0", dtype: .u8, shape: [15_000], data: Frame(Array(repeating: 7, count: 15_000)))
    let many = record(JobID(rawValue: 2), sequence: 1, samples: 30)
    let next: [Record] =
      try [.accepted(many), .stageDone(TaskID(job: job, sample: 0, stage: 0), outcome(large), output: large)]
      + (0..<30).map { .stageDone(TaskID(job: many.id, sample: $0, stage: 0), try outcome(large), output: large) }
    try journal.execute("PRAGMA max_page_count = 40")
    for _ in 0..<3 {
      #expect(code { try journal.commit(next) } == .stalled)
      #expect(try journal.output(TensorKey(job: job, sample: 1, stage: 0)) == small)
    }
    #expect(try journal.restore() == before)
    try journal.execute("PRAGMA max_page_count = 4000")
    try journal.commit(next)
    #expect(try journal.restore().jobs.count == 2)
    #expect(try journal.output(TensorKey(job: job, sample: 0, stage: 0)) == large)
    let after = try journal.restore()
    try journal.close()
    #expect(try Journal(directory: folder.path).restore() == after)
  }

  @Test func aLargeJobIsForgottenInSlicesAndItsSpaceIsGivenBack() throws {
    let large = try WireTensor(name: "x0", dtype: .u8, shape: [12_288], data: Frame(Array(repeating: 0xCD, count: 12_288)))
    let count = 2_500
    var journal = try Journal(directory: folder.path)
    let small = JobID(rawValue: 9)
    try journal.commit([.pipeline(pipeline), .accepted(record(job, samples: count)), .accepted(record(small, sequence: 1))])
    try journal.commit(
      (0..<UInt32(count)).map { .stageDone(TaskID(job: job, sample: $0, stage: 0), try outcome(large), output: large) })
    try journal.commit([.finished(job, .cancelled, unixMilliseconds: 1)])
    let half = try journal.count("output WHERE data IS NULL")
    #expect(half > 0 && half < count, "a large job is cancelled in slices too")
    try journal.commit([.forgotten(job)])
    while try journal.count("output") == count { try journal.tidy() }
    #expect(try journal.restore().jobs.map(\.record.id) == [small])
    #expect(journal.isUntidy)
    let before = try journal.count("output")
    #expect(before > 0 && before < count)
    // A restart in the middle of it: the job stays forgotten, and the rest of it goes.
    try journal.close()
    let bytes = try fileBytes()
    journal = try Journal(directory: folder.path)
    #expect(journal.findings == [])
    #expect(try journal.restore().jobs.map(\.record.id) == [small])
    var slices = 0
    while journal.isUntidy {
      try journal.tidy()
      slices += 1
    }
    #expect(slices > 1)
    #expect(try journal.count("output") == 0)
    #expect(try journal.count("job") == 1)
    // A new job takes none of the old one's numbers while these may still be there.
    try journal.commit([.accepted(record(JobID(rawValue: 10), sequence: 2))])
    let snapshot = try journal.restore()
    try journal.close()
    #expect(try fileBytes() < bytes / 8)
    #expect(try Journal(directory: folder.path).restore() == snapshot)
    #expect(try JournalCheck(directory: folder.path).findings == [])
  }

  private func fileBytes() throws -> Int { try #require(FileManager.default.attributesOfItem(atPath: file)[.size] as? Int) }

  @Test func oneBrokerADirectory() throws {
    let journal = try Journal(directory: folder.path)
    do {
      _ = try Journal(directory: folder.path)
      Issue.record("two brokers share a directory")
    } catch {
      #expect(error.code == .locked)
      #expect(error.message.contains("process \(getpid())"))
    }
    try journal.close()
  }

  @Test func otherFilesAreLeftAlone() throws {
    #expect(code { _ = try Journal(directory: "/proc/weir") } == .unusable)
    try Data("no database at all, but long enough to look at, for SQLite reads a hundred bytes of header before it says anything".utf8)
      .write(to: URL(fileURLWithPath: file))
    #expect(code { _ = try Journal(directory: folder.path) } == .foreign)
    try FileManager.default.removeItem(atPath: file)
    try withExtendedLifetime(try Journal(directory: folder.path)) { try $0.close() }
    try FileManager.default.removeItem(atPath: folder.path + "/journal.mark")
    try change { $0[71] ^= 1 }
    #expect(code { _ = try Journal(directory: folder.path) } == .foreign)
  }

  @Test func damageIsFoundAndSaid() throws {
    let key = TensorKey(job: job, sample: 0, stage: 0)
    let big = try WireTensor(name: "x0", dtype: .u8, shape: [15_000], data: Frame(Array(repeating: 0xAB, count: 15_000)))
    let journal = try Journal(directory: folder.path)
    try journal.commit([
      .pipeline(pipeline), .accepted(record(job)), .stageDone(TaskID(job: job, sample: 0, stage: 0), outcome(big), output: big),
    ])
    try journal.close()
    let whole = try Data(contentsOf: URL(fileURLWithPath: file))

    // A bit of a tensor flips.
    let run = try #require(whole.range(of: Data(repeating: 0xAB, count: 3_000)))
    try change { $0[run.lowerBound + 1_000] ^= 4 }
    let flipped = try Journal(directory: folder.path)
    #expect(code { _ = try flipped.output(key) } == .damaged)
    #expect(try flipped.restore().jobs.count == 1)
    try flipped.close()
  }

  /// Behind the journal's back, so that no row's seal fits any more.
  @Test func rowsThatCannotBeAreLeftOutAndNamed() throws {
    for (sql, word) in [
      ("UPDATE job SET options = '[]'", "a job that seems to be"), ("UPDATE job SET key = 'x'", "a job that seems to be"),
      ("UPDATE sample SET attempt = 9", "the state of sample 0"),
      ("UPDATE output SET numerics = 'x'", "stage 0 of sample 1"), ("UPDATE output SET data = x'00'", "sample 1"),
      ("DELETE FROM output", ""), ("UPDATE pipeline SET name = 'x'", "table pipeline"), ("UPDATE turn SET number = 7", "the last commit"),
      ("DROP TABLE job", "of jobs that are lost"), ("DELETE FROM grdb_migrations", ""),
    ] {
      let folder = TemporaryFolder()
      let output = Oracle.output(1, resolution: 1)
      let journal = try Journal(directory: folder.path)
      try journal.commit([
        .pipeline(pipeline), .accepted(record(job)), .leased(TaskRef(TaskID(job: job, sample: 0, stage: 0), attempt: 1)),
        .stageDone(TaskID(job: job, sample: 1, stage: 0), outcome(output), output: output),
      ])
      try journal.execute(sql)
      try journal.close()
      let mended = try Journal(directory: folder.path)
      let jobs = try mended.restore().jobs
      #expect(jobs.count == (sql.contains("job") ? 0 : 1), "\(sql)")
      #expect(word.isEmpty || mended.findings.contains { $0.contains(word) }, "\(sql): \(mended.findings)")
      try mended.close()
    }
  }

  @Test func journalsOfOtherVersionsAreLeftAlone() throws {
    for (sql, word) in [
      ("INSERT INTO grdb_migrations VALUES ('5')", "a newer weir-broker"),
      ("DELETE FROM grdb_migrations; INSERT INTO grdb_migrations VALUES ('1'); DROP TABLE job", "before the first release"),
    ] {
      let folder = TemporaryFolder()
      let journal = try Journal(directory: folder.path)
      try journal.commit([.pipeline(pipeline), .accepted(record(job))])
      try journal.execute(sql)
      try journal.close()
      let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
      let whole = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/journal.sqlite"))
      for open in [{ _ = try Journal(directory: folder.path) }, { _ = try JournalCheck(directory: folder.path) }] {
        do {
          try open()
          Issue.record("\(sql): it was opened")
        } catch let error as JournalError {
          #expect(error.code == .otherVersion && error.message.contains(word), "\(error)")
        }
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == files)
      #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path + "/journal.sqlite")) == whole)
    }
  }

  @Test func anOlderJournalIsBroughtUpToDate() throws {
    let output = Oracle.output(1, resolution: 1)
    let journal = try Journal(directory: folder.path)
    try journal.commit([
      .pipeline(pipeline), .accepted(record(job)), .leased(TaskRef(TaskID(job: job, sample: 0, stage: 0), attempt: 1)),
      .stageDone(TaskID(job: job, sample: 1, stage: 0), outcome(output), output: output),
    ])
    let snapshot = try journal.restore()
    try journal.close()
    let old = TemporaryFolder()
    try makeOlderJournal(at: old.path + "/journal.sqlite", of: file)
    #expect(code { _ = try JournalCheck(directory: old.path) } == .otherVersion)
    let mended = try Journal(directory: old.path)
    #expect(try mended.restore() == snapshot)
    #expect(mended.findings.allSatisfy { $0.contains("journal.mark is missing") })
    try mended.commit([.accepted(record(JobID(rawValue: 2), sequence: 1))])
    try mended.close()
    #expect(try JournalCheck(directory: old.path).findings == [])
  }

  @Test func aTornTailIsDropped() throws {
    // A copy of the files of a running broker is what a power cut leaves; the last commit is cut off in its middle.
    let journal = try Journal(directory: folder.path)
    try journal.commit([.pipeline(pipeline), .accepted(record(job))])
    let before = try Data(contentsOf: URL(fileURLWithPath: file + "-wal")).count
    try journal.commit([.accepted(record(JobID(rawValue: 7), sequence: 1, samples: 500))])
    let log = try Data(contentsOf: URL(fileURLWithPath: file + "-wal"))
    for length in [before, before + 1, (before + log.count) / 2, log.count - 1, log.count] {
      let copy = TemporaryFolder()
      try FileManager.default.copyItem(atPath: file, toPath: copy.path + "/journal.sqlite")
      try log.prefix(length).write(to: URL(fileURLWithPath: copy.path + "/journal.sqlite-wal"))
      let jobs = try Journal(directory: copy.path).restore().jobs.map(\.record.id)
      #expect(jobs == (length == log.count ? [job, JobID(rawValue: 7)] : [job]), "cut to \(length) of \(log.count) bytes")
    }
  }

  private func change(_ body: (inout Data) -> Void) throws {
    var data = try Data(contentsOf: URL(fileURLWithPath: file))
    body(&data)
    try data.write(to: URL(fileURLWithPath: file))
  }
}
