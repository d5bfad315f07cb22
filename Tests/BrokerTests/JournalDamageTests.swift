import Foundation
import SeededRandom
import Testing
import Wire

@testable import Broker

/// Damaged files: what is not damaged is served, and what is damaged is said.
struct JournalDamageTests {
  private static func setting(_ name: String, _ usual: Int) -> Int {
    ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? usual
  }
  /// Bytes between two cuts; `WEIR_CUT_STEP=1` cuts at every byte, which takes half an hour. With 2 and `WEIR_CUT_FIRST=1` it is the second half of
  /// that.
  static let cutStep = setting("WEIR_CUT_STEP", 8_191)
  static let firstCut = setting("WEIR_CUT_FIRST", 0)
  /// Bits flipped in each test.
  static let flips = setting("WEIR_FLIPS", 20)
  static let tail = 64 << 10

  struct Outcome {
    var snapshot = Snapshot()
    var findings: [String] = []
    /// Outputs of the last state that cannot be read any more.
    var unreadable: Set<TensorKey> = []
  }

  /// Opens the files as a broker does, twice: what the first opening mends has to stay mended.
  ///
  /// - Parameter isBrief: only once, and without comparing what is found with what a check finds.
  func open(_ used: UsedJournal, database: Data?, log: Data?, mark: Data?, isBrief: Bool = false) throws -> Outcome {
    let folder = TemporaryFolder()
    try used.lay(folder, database: database, log: log, mark: mark)
    var outcome = Outcome()
    if isBrief {
      let journal = try Journal(directory: folder.path)
      outcome.findings = journal.findings
      outcome.snapshot = try journal.restore()
      for (key, tensor) in used.outputs where (try? journal.output(key)) != tensor { outcome.unreadable.insert(key) }
      try journal.close()
      return outcome
    }
    let check = try JournalCheck(directory: folder.path)
    do {
      let journal = try Journal(directory: folder.path)
      outcome.findings = journal.findings
      outcome.snapshot = try journal.restore()
      for (key, tensor) in used.outputs where (try? journal.output(key)) != tensor { outcome.unreadable.insert(key) }
      try journal.commit([
        .accepted(
          JobRecord(
            id: JobID(rawValue: 0xFFFF), sequence: 1 << 40, pipeline: used.pipeline.digest, key: "",
            options: used.last.jobs[0].record.options,
            truncated: false, submittedUnixMilliseconds: 0, samples: [SampleSeed(label: 0, seed: 0)]))
      ])
      try journal.close()
    }
    // What opening finds, and what reading finds later, the check finds too; and what it finds no fault with is whole. Checkpoints and histories
    // are not read here: a broker does without those that are damaged.
    let found = check.findings.filter { !$0.contains("table checkpoint") && !$0.contains("table attempt") }
    #expect(
      found.isEmpty == (outcome.findings.isEmpty && outcome.unreadable.isEmpty) || found.count < check.findings.count,
      "\(check.findings) but \(outcome.findings), \(outcome.unreadable)")
    let again = try Journal(directory: folder.path)
    #expect(
      try again.restore().jobs.filter { $0.record.id != JobID(rawValue: 0xFFFF) } == outcome.snapshot.jobs, "mended, but not for good")
    try again.close()
    return outcome
  }

  func jobs(_ snapshot: Snapshot) -> [JobID: JobSnapshot] {
    Dictionary(uniqueKeysWithValues: snapshot.jobs.map { ($0.record.id, $0) })
  }

  /// The page that each job's row is in, counted from 1.
  func pagesOfJobs(_ used: UsedJournal) throws -> [JobID: Int] {
    let folder = TemporaryFolder()
    try used.lay(folder, database: used.database, log: nil, mark: nil)
    let pages = JournalFiles(folder.path + "/journal.sqlite").pages(.committed)
    let free = pages.free
    var places: [JobID: Int] = [:]
    for number in 1...pages.count where !free.contains(number) {
      for row in pages.rows(number) where row.table == .job {
        places[JobID(rawValue: UInt64(journalValue: row.int(2) ?? 0))] = Int(number)
      }
    }
    return places
  }

  @Test func whatIsWholeIsReadWithoutAWord() throws {
    for isClosed in [false, true] {
      let used = try UsedJournal(seed: 1, rounds: 20, isClosed: isClosed)
      let outcome = try open(used, database: used.database, log: used.log, mark: used.mark)
      #expect(outcome.snapshot == used.last)
      #expect(outcome.findings == [])
      #expect(outcome.unreadable == [])
    }
  }

  /// Of cuts that lie so close, one in sixteen is looked at from all sides.
  func isBrief(_ length: Int) -> Bool { Self.cutStep < 16 && length % 16 != 0 }

  /// Lengths to cut a file to.
  func cuts(_ count: Int) -> [Int] {
    stride(from: count - Self.firstCut, through: max(0, count - Self.tail), by: -Self.cutStep).map { $0 }
  }

  @Test func aLogCutAnywhere() throws {
    let used = try UsedJournal(seed: 2, rounds: 20, isClosed: false)
    // In a commit that splits a page, the new page is behind the old one, which has lost the rows that the new one takes.
    let ends = stride(from: used.log.count, through: used.log.count - Self.tail, by: -4_120).flatMap { [$0, $0 - 33] }
    for length in Self.cutStep < 16 ? cuts(used.log.count) : cuts(used.log.count) + ends {
      let outcome = try open(used, database: used.database, log: used.log.prefix(length), mark: used.mark, isBrief: isBrief(length))
      let what = "cut to \(length) of \(used.log.count) bytes: \(outcome.findings)"
      let before = used.commits.last { $0.logBytes <= length }?.snapshot ?? Snapshot()
      let after = jobs(used.commits.first { $0.logBytes >= length }?.snapshot ?? used.last)
      let known = jobs(outcome.snapshot)
      // What the whole commits say is the least; of the one that breaks off a part may be there.
      for job in before.jobs {
        guard let later = after[job.record.id] else { continue }
        #expect(known[job.record.id]?.record == job.record, "\(what): job \(job.record.id) is lost")
        for (sample, state) in (known[job.record.id]?.samples ?? []).enumerated() {
          let least = min(job.samples[sample].outcomes.count, later.samples[sample].outcomes.count)
          #expect(state.outcomes.count >= least, "\(what): what was made of sample \(sample) of job \(job.record.id) is lost")
        }
      }
      #expect(outcome.findings.isEmpty == (length == used.log.count), "\(what)")
    }
  }

  /// The file is ahead of what is left of the log, and SQLite would put the older pages of the log over the file's.
  @Test func aLogCutAfterTheFileHasTakenItOver() throws {
    let used = try UsedJournal(seed: 11, rounds: 20, isClosed: false, isTakenOver: true)
    let last = jobs(used.last)
    for length in stride(from: used.log.count, through: 0, by: -27_011) {
      let outcome = try open(used, database: used.database, log: used.log.prefix(length), mark: used.mark)
      let what = "cut to \(length) of \(used.log.count) bytes: \(outcome.findings)"
      let known = jobs(outcome.snapshot)
      for (id, job) in last { #expect(known[id]?.samples.map(\.outcomes) == job.samples.map(\.outcomes), "\(what): job \(id)") }
      #expect(outcome.unreadable == [], "\(what)")
      #expect(outcome.snapshot == used.last || !outcome.findings.isEmpty, "\(what)")
    }
  }

  @Test func aPartOfTheLogIsOverwritten() throws {
    let used = try UsedJournal(seed: 12, rounds: 20, isClosed: false)
    let last = Set(used.last.jobs.map(\.record.id))
    for position in stride(from: 32, through: used.log.count - 4_096, by: 26_003) {
      var log = used.log
      log.replaceSubrange(position..<position + 4_096, with: Data(repeating: 0, count: 4_096))
      let outcome = try open(used, database: used.database, log: log, mark: used.mark)
      let known = jobs(outcome.snapshot)
      let before = used.commits.last { $0.logBytes <= position }?.snapshot ?? Snapshot()
      for job in before.jobs where last.contains(job.record.id) {
        #expect(known[job.record.id]?.record == job.record, "from \(position) of \(used.log.count): job \(job.record.id) is lost")
      }
      #expect(!outcome.findings.isEmpty, "from \(position) of \(used.log.count)")
    }
  }

  /// On the first page, where tables are defined.
  @Test func aBitOfADefinitionFlips() throws {
    let used = try UsedJournal(seed: 13, rounds: 20, isClosed: true)
    for position in stride(from: 100, to: 4_096, by: 149) {
      var database = used.database
      database[position] ^= 1 << UInt8(position % 7)
      let outcome = try open(used, database: database, log: nil, mark: used.mark)
      #expect(outcome.snapshot == used.last, "byte \(position): \(outcome.findings)")
      #expect(outcome.unreadable == [], "byte \(position): \(outcome.findings)")
    }
  }

  @Test func aFileCutAnywhere() throws {
    let used = try UsedJournal(seed: 3, rounds: 40, isClosed: true)
    let places = try pagesOfJobs(used)
    #expect(places.count == used.last.jobs.count)
    for length in cuts(used.database.count) {
      let outcome = try open(used, database: used.database.prefix(length), log: nil, mark: used.mark, isBrief: isBrief(length))
      let known = jobs(outcome.snapshot)
      for (id, page) in places where page * 4_096 <= length {
        #expect(known[id] != nil, "cut to \(length) of \(used.database.count) bytes: job \(id), in page \(page), is lost")
      }
      let isAllThere = outcome.snapshot == used.last && outcome.unreadable.isEmpty
      #expect(isAllThere || !outcome.findings.isEmpty, "cut to \(length): nothing was said")
      if length == used.database.count { #expect(isAllThere && outcome.findings.isEmpty) }
    }
  }

  @Test(arguments: [true, false]) func aBitFlips(isClosed: Bool) throws {
    let used = try UsedJournal(seed: 4, rounds: 25, isClosed: isClosed)
    let last = jobs(used.last)
    var random = SplitMix64(seed: isClosed ? 5 : 6)
    var changed = 0
    for round in 0..<Self.flips {
      var database = used.database
      var log = used.log
      let bit = UInt8(1) << UInt8.random(in: 0..<8, using: &random)
      let position = Int.random(in: 0..<database.count + log.count, using: &random)
      if position < database.count { database[position] ^= bit } else { log[position - database.count] ^= bit }
      let outcome = try open(used, database: database, log: log, mark: used.mark)
      let what = "round \(round): bit \(bit) of byte \(position) of \(database.count) + \(log.count)"
      let known = jobs(outcome.snapshot)
      let different = last.keys.filter { known[$0] != last[$0] }
      // One bit is in one row.
      #expect(different.count <= 1, "\(what): \(different.sorted()) are not what they were; \(outcome.findings)")
      let unreadable = outcome.unreadable.filter { !different.contains($0.job) }
      // A bit of a tensor is found when the tensor is read.
      #expect(unreadable.count <= 1, "\(what): \(unreadable); \(outcome.findings)")
      if !different.isEmpty { #expect(!outcome.findings.isEmpty, "\(what): nothing was said") }
      // A page of the log that has lost its number may hold what was forgotten since.
      let isFrameHeader = position >= database.count && (position - database.count - 32) % 4_120 < 24
      #expect(isFrameHeader || Set(known.keys).isSubset(of: last.keys), "\(what): forgotten jobs are back")
      changed += outcome.findings.isEmpty ? 0 : 1
    }
    #expect(changed > Self.flips / 6)
  }

  @Test func filesThatAreGone() throws {
    let used = try UsedJournal(seed: 7, rounds: 20, isClosed: false)
    let withoutLog = try open(used, database: used.database, log: nil, mark: used.mark)
    #expect(withoutLog.findings.contains { $0.contains("commits are missing") })
    let withoutFile = try open(used, database: nil, log: used.log, mark: used.mark)
    #expect(jobs(withoutFile.snapshot).count == used.last.jobs.count)
    #expect(withoutFile.findings.contains { $0.contains("only its log is there") })
    let withoutMark = try open(used, database: used.database, log: used.log, mark: nil)
    #expect(withoutMark.snapshot == used.last)
    #expect(withoutMark.findings.contains { $0.contains("journal.mark is missing") })
    let withBadMark = try open(used, database: used.database, log: used.log, mark: Data(used.mark.reversed()))
    #expect(withBadMark.snapshot == used.last)
    #expect(withBadMark.findings.contains { $0.contains("journal.mark is damaged") })
    let nothing = try open(used, database: nil, log: nil, mark: used.mark)
    #expect(nothing.snapshot == Snapshot())
    #expect(!nothing.findings.isEmpty)
  }

  @Test func pagesThatWereNeverWritten() throws {
    let used = try UsedJournal(seed: 8, rounds: 30, isClosed: true)
    let last = jobs(used.last)
    for page in 0..<used.database.count / 4_096 where page % 3 == 0 {
      var database = used.database
      database.replaceSubrange(page * 4_096 + 2_048..<(page + 1) * 4_096, with: Data(repeating: 0, count: 2_048))
      let outcome = try open(used, database: database, log: nil, mark: used.mark)
      for (id, job) in jobs(outcome.snapshot) { #expect(job.record == last[id]?.record, "page \(page)") }
      if outcome.snapshot != used.last { #expect(!outcome.findings.isEmpty, "page \(page)") }
    }
  }
}
