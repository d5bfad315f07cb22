import Digests
import Foundation
import GRDB
import Wire
import ZeroMQ

/// Reads a journal's rows without believing them, and says what is wrong with them.
struct JournalReader {
  private let path: String
  private let connection: SQLConnection
  /// The sizes of the tensor files.
  private let tensorFiles: [Int64: Int]
  private var numerics: Set<String> = []
  private var optionsByText: [String: [StageOptions]] = [:]
  /// What is lost, and what that means; not what is merely odd.
  private(set) var findings: [String] = []

  init(_ files: DataDirectory.Files, _ connection: SQLConnection) {
    path = files.journal
    tensorFiles = files.tensorFiles
    self.connection = connection
  }

  /// What a journal holds, tensors excepted, and where a writer goes on.
  struct Contents {
    var snapshot = Snapshot()
    var places: [JobID: JobPlace] = [:]
    var states: [Int64: SampleState] = [:]
    var purging: [Purge] = []
    var nextRow: Int64 = 1
    var nextSample: Int64 = 0
    var turn: Int64 = 0
    /// Of all rows whose tensors are in the tensor files.
    var tensorPlaces: [TensorPlace] = []
  }

  /// - Throws: `.damaged` if a row is not what was written. What is missing is a finding, and the rest is read.
  mutating func read() throws -> Contents {
    var contents = Contents()
    contents.turn = try turn()
    contents.tensorPlaces = try tensorPlaces()
    contents.snapshot.pipelines = try pipelines()
    contents.snapshot.quarantined = try quarantined()
    contents.nextRow = try nextID(.job, .ending, .pipeline, .pipelineCopy, .quarantine)
    // Rows of jobs that are lost keep their ids.
    contents.nextSample =
      max(
        try nextID(.sample) - 1, (try nextID(.output) - 1) >> JobPlace.stageBits, (try nextID(.checkpoint) - 1) >> JobPlace.slotBits, -1)
      + 1
    let stageCounts = Dictionary(contents.snapshot.pipelines.map { ($0.digest, $0.stages.count) }, uniquingKeysWith: { first, _ in first })

    let jobs = try SQLStatement(connection, "SELECT \(JournalTable.job.columnList) FROM job ORDER BY id")
    var endings = try RowCursor(.ending, connection, path)
    var choices = try RowCursor(.choice, connection, path)
    var samples = try RowCursor(.sample, connection, path)
    var outputs = try RowCursor(.output, connection, path)
    while try jobs.step() {
      try check(jobs, .job)
      var (record, place) = try job(jobs)
      let ending = try ending(&endings, place.row)
      if case .forgotten = ending {
        // Its rows are passed over.
        contents.purging.append(Purge(place, isMarked: true))
        contents.nextSample = max(contents.nextSample, place.first + place.count)
        continue
      }
      let choice = try choice(&choices, place)
      var states: [SampleSnapshot] = []
      states.reserveCapacity(record.samples.count)
      for number in place.samples {
        var state = SampleSnapshot()
        let saved = try self.state(&samples, number)
        var passed = try stages(&outputs, number, place, record.id)
        place.bytes += passed.bytes
        state.isCancelled = choice?.contains(number - place.first) ?? false
        if !ending.isCancelled, !state.isCancelled, saved?.error == nil, let lost = passed.dropUnusable() {
          findings.append(
            "an output of sample \(number - place.first) of job \(record.id) is lost: stage \(lost) and those after it are computed again")
        }
        state.outcomes = passed.outcomes
        if let saved, saved.error != nil || Int(saved.stage) == state.outcomes.count {
          state.attempt = saved.attempt
          state.failures = saved.failures
          state.isLeased = saved.isLeased
          state.error = saved.error
          state.checkpoint = saved.checkpoint
          if saved.error == nil { contents.states[number] = saved }
        }
        states.append(state)
      }
      contents.nextSample = max(contents.nextSample, place.first + place.count)
      contents.places[record.id] = place
      guard let stages = stageCounts[record.pipeline] else {
        findings.append("job \(record.id) is kept, but its pipeline is lost: it goes on when a worker announces it and the broker restarts")
        continue
      }
      guard record.options.count == stages else { throw damage("job \(record.id) is not as its pipeline says") }
      let isOpen = states.contains { $0.error == nil && !$0.isCancelled && $0.outcomes.count < stages }
      var jobEnding: JobEnding?
      if case .ended(let ended) = ending {
        jobEnding = ended
        if isOpen, !ending.isCancelled {
          findings.append("job \(record.id) had ended, but outputs of it are lost: they are computed again")
          jobEnding = nil
        }
      }
      if jobEnding == nil, !isOpen {
        findings.append("that job \(record.id) has ended is lost, but not what it made")
        jobEnding = JobEnding(
          state: states.contains { $0.error != nil } ? .failed : .done, unixMilliseconds: record.submittedUnixMilliseconds)
      }
      contents.snapshot.jobs.append(JobSnapshot(record: record, samples: states, ending: jobEnding, isChosen: choice != nil))
    }
    return contents
  }

  // MARK: Tables

  private func turn() throws -> Int64 {
    let statement = try SQLStatement(connection, "SELECT \(JournalTable.turn.columnList) FROM turn")
    var turn: Int64 = 0
    while try statement.step() {
      try check(statement, .turn)
      turn = statement.int(2)
    }
    return turn
  }

  private func tensorPlaces() throws -> [TensorPlace] {
    var all: [TensorPlace] = []
    for table in JournalTable.withTensors {
      let places = try SQLStatement(connection, table.placesQuery())
      while try places.step() { all.append(TensorPlace(journalValue: places.int(0))) }
    }
    return all
  }

  private func nextID(_ tables: JournalTable...) throws -> Int64 {
    var next: Int64 = 1
    for table in tables {
      let statement = try SQLStatement(connection, "SELECT max(id) FROM \(table.name)")
      while try statement.step() { if !statement.isNull(0) { next = max(next, statement.int(0) + 1) } }
    }
    return next
  }

  private func pipelines() throws -> [PipelineInfo] {
    var pipelines: [PipelineInfo] = []
    for table in [JournalTable.pipeline, .pipelineCopy] {
      let statement = try SQLStatement(connection, "SELECT \(table.columnList) FROM \(table.name) ORDER BY id")
      while try statement.step() {
        try check(statement, table)
        let info = PipelineInfo(
          name: statement.text(3), digest: Array(statement.bytes(2)), labels: try json([String].self, statement, 4),
          stages: try json([StageRow].self, statement, 5).map(\.value))
        if let fault = PipelineTable.fault(in: info) { throw damage("a pipeline is bad: \(fault)") }
        if !pipelines.contains(where: { $0.digest == info.digest }) { pipelines.append(info) }
      }
    }
    return pipelines
  }

  private func quarantined() throws -> [QuarantineRecord] {
    var workers: [QuarantineRecord] = []
    let statement = try SQLStatement(connection, "SELECT \(JournalTable.quarantine.columnList) FROM quarantine ORDER BY id")
    while try statement.step() {
      try check(statement, .quarantine)
      workers.append(
        QuarantineRecord(name: statement.text(2), boot: UInt64(journalValue: statement.int(3)), reason: statement.text(4)))
    }
    return workers
  }

  /// The samples, counted from 0, that were cancelled when others were chosen; `nil`: nothing was chosen yet.
  private func choice(_ cursor: inout RowCursor, _ place: JobPlace) throws -> Set<Int64>? {
    guard let row = try cursor.row(place.row) else { return nil }
    let bytes = row.bytes(2)
    let numbers = (0..<bytes.count / 4).map { Int64(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self))) }
    guard numbers.allSatisfy({ $0 < place.count }) else { throw damage("a choice names samples that its job lacks") }
    return Set(numbers)
  }

  private func terms(_ row: SQLStatement) throws -> JobTerms {
    var terms = JobTerms()
    if !row.isNull(12) { terms.tenant = row.text(12) }
    if !row.isNull(13) {
      guard let priority = Priority(journalCode: Int(row.int(13))) else { throw damage("a job has an unknown priority") }
      terms.priority = priority
    }
    if !row.isNull(14) { terms.deadlineUnixMilliseconds = UInt64(journalValue: row.int(14)) }
    if !row.isNull(15) {
      guard row.int(15) >= 0, row.int(15) + 1 < row.int(5) else { throw damage("a job is held after no stage of it") }
      terms.holdAfter = UInt32(row.int(15))
    }
    return terms
  }

  private mutating func job(_ row: SQLStatement) throws -> (JobRecord, JobPlace) {
    let id = JobID(rawValue: UInt64(journalValue: row.int(2)))
    let text = row.text(8)
    let options: [StageOptions]
    if let known = optionsByText[text] {
      options = known
    } else {
      options = try json([OptionsRow].self, row, 8).map(\.value)
      // Most jobs share the options of others; those that all have their own would fill the memory.
      if optionsByText.count == 256 { optionsByText = [:] }
      optionsByText[text] = options
    }
    let record = JobRecord(
      id: id, sequence: UInt64(journalValue: row.int(3)), pipeline: Array(row.bytes(6)), key: row.text(7), options: options,
      truncated: row.int(9) != 0, submittedUnixMilliseconds: UInt64(journalValue: row.int(10)), samples: SeedRuns.decode(row.bytes(11)),
      terms: try terms(row))
    let place = JobPlace(row: row.int(0), first: row.int(4), count: Int64(record.samples.count), stages: row.int(5))
    guard place.count > 0, place.stages == record.options.count, place.stages > 0 else {
      throw damage("job \(id) has no samples or stages")
    }
    return (record, place)
  }

  private enum Ending {
    case none, forgotten
    case ended(JobEnding)

    var isCancelled: Bool { if case .ended(let ending) = self { ending.state == .cancelled || ending.state == .expired } else { false } }
  }

  private func ending(_ cursor: inout RowCursor, _ row: Int64) throws -> Ending {
    guard let statement = try cursor.row(row) else { return .none }
    if statement.isNull(2) { return .forgotten }
    guard let state = JobState(journalCode: Int(statement.int(2))) else { throw damage("the job in row \(row) has an unknown state") }
    return .ended(JobEnding(state: state, unixMilliseconds: UInt64(journalValue: statement.int(3))))
  }

  private mutating func state(_ cursor: inout RowCursor, _ number: Int64) throws -> SampleState? {
    guard let row = try cursor.row(number) else { return nil }
    var state = SampleState(
      stage: UInt32(clamping: row.int(3)), attempt: UInt32(clamping: row.int(4)), failures: UInt32(clamping: row.int(5)),
      isLeased: row.int(6) != 0, error: row.isNull(7) ? nil : row.text(7))
    if !row.isNull(8) {
      state.checkpoint = CheckpointRecord(
        step: UInt32(clamping: row.int(8)), numerics: shared(row.text(9)), bytes: UInt64(journalValue: row.int(10)))
    }
    return state
  }

  /// What is known of the stages that a sample has passed.
  private struct PassedStages {
    var outcomes: [StageOutcome] = []
    /// Whether the output of each is still there.
    var hasData: [Bool] = []
    var bytes: Int64 = 0
    /// An outcome was there, but not the one before it.
    var hasGap = false

    /// Leaves the stages after which work can go on.
    ///
    /// - Returns: the stage to go on with, if that is not the one after the last.
    mutating func dropUnusable() -> Int? {
      if !hasGap, hasData.last ?? true { return nil }
      while hasData.last == false {
        outcomes.removeLast()
        hasData.removeLast()
      }
      return outcomes.count
    }
  }

  private mutating func stages(
    _ cursor: inout RowCursor, _ number: Int64, _ place: JobPlace, _ job: JobID
  ) throws -> PassedStages {
    var passed = PassedStages()
    for stage in 0..<UInt32(place.stages) {
      guard let row = try cursor.row(JobPlace.output(number, stage)) else { continue }
      guard let digest = ContentDigest(row.bytes(2)) else { throw damage("a digest of job \(job) is bad") }
      if Int(stage) == passed.outcomes.count {
        passed.outcomes.append(StageOutcome(digest: digest, numerics: shared(row.text(3)), bytes: UInt64(journalValue: row.int(4))))
        passed.hasData.append(hasTensor(row))
      } else {
        passed.hasGap = true
      }
      passed.bytes += row.isNull(8) ? 0 : row.int(8)
    }
    return passed
  }

  /// Whether an output is still there, as far as its length tells. One that was not written may still be at the worker that was given it.
  private func hasTensor(_ row: SQLStatement) -> Bool {
    if JournalTable.isUnwritten(row, length: 8) { return true }
    if !row.isNull(8) { return row.int(8) == row.int(4) }
    if row.isNull(9) { return false }
    let place = TensorPlace(journalValue: row.int(9))
    return tensorFiles[place.file].map { place.offset + Int(clamping: row.int(4)) <= $0 } ?? false
  }

  /// A few strings, that many samples share.
  private mutating func shared(_ text: String) -> String { numerics.insert(text).memberAfterInsert }

  // MARK: Values

  private func json<Value: Decodable>(_ type: Value.Type, _ row: SQLStatement, _ column: Int32) throws -> Value {
    do { return try journalValue(type, row.text(column)) } catch { throw damage("column \(column) of a row makes no sense") }
  }

  private func check(_ row: SQLStatement, _ table: JournalTable) throws {
    if !table.isWhole(row) { throw damage("row \(row.int(0)) of table \(table.name) is not what was written") }
  }

  private func damage(_ what: String) -> JournalError { JournalError(.damaged, "journal \(path): \(what)") }
}

/// The rows of a table in the order of their ids, for one who asks in that order.
private struct RowCursor {
  private let table: JournalTable
  private let statement: SQLStatement
  private let path: String
  private var id: Int64 = .min

  init(_ table: JournalTable, _ connection: SQLConnection, _ path: String) throws {
    self.table = table
    self.path = path
    statement = try SQLStatement(connection, "SELECT \(table.columnList) FROM \(table.name) ORDER BY id")
    try advance()
  }

  /// The statement, standing at the row of this id, if there is one.
  mutating func row(_ wanted: Int64) throws -> SQLStatement? {
    while id < wanted { try advance() }
    return id == wanted ? statement : nil
  }

  private mutating func advance() throws {
    guard try statement.step() else {
      id = .max
      return
    }
    id = statement.int(0)
    if !table.isWhole(statement) {
      throw JournalError(.damaged, "journal \(path): row \(id) of table \(table.name) is not what was written")
    }
  }
}
