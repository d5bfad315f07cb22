import Digests
import Foundation
import GRDB
import Wire

/// Builds a new journal from whatever rows of a damaged one are what was written.
///
/// It looks at every page for itself: where a tree of SQLite's is damaged, the rows beyond are still there. What the journal's newest state lacks
/// and may have lost is taken from the states before it, so that nothing is lost that SQLite would find.
struct JournalSalvage {
  /// The newest first.
  private var states: [SalvageState]
  private let tensorFiles: TensorReader
  private var writers: [JournalTable: RowWriter] = [:]
  private var jobs = SampleOwners()
  /// Those of them that the state being read has added.
  private var added = SampleOwners()
  /// What was written of rows that may be there in several versions, of which the newest counts.
  private var versions: [JournalTable: [Int64: Int64]] = [:]
  /// Rows of the newest state that are not what was written.
  private var damaged: [(page: UInt32, row: StoredRow)] = []
  /// Their ids, and those of rows whose tensors are not.
  private var wanted: [JournalTable: Set<Int64>] = [:]
  /// The pages of such tensors' rows.
  private var damagedTensors: Set<UInt32> = []
  /// The newest state lacks more than those.
  private var lacksMore: Bool
  private var orphans = 0
  private(set) var findings: [String] = []

  /// - Parameters:
  ///   - states: of what is stored, the newest first.
  ///   - files: where the tensor files are, which stay.
  /// - Returns: what was lost, a line each.
  static func rebuild(
    _ stored: JournalFiles, _ states: [JournalFiles.State], _ files: DataDirectory.Files, at path: String
  ) throws -> [String] {
    for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) }
    let database = try DatabaseQueue(path: path, configuration: JournalOpening.configuration)
    defer { try? database.close() }
    let connection = try JournalOpening.prepare(database, path)
    var salvage = try JournalSalvage(stored, states, files, connection)
    try database.writeWithoutTransaction { db in
      try db.inTransaction(.immediate) {
        try salvage.copyRows()
        return .commit
      }
      // After this the file is complete without a log, and on the disk.
      try db.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)")
    }
    salvage.writers = [:]
    return salvage.findings
  }

  private init(
    _ stored: JournalFiles, _ states: [JournalFiles.State], _ files: DataDirectory.Files, _ connection: SQLConnection
  ) throws {
    self.states = states.map { SalvageState(stored.pages($0)) }
    tensorFiles = TensorReader(files)
    // The commits behind damage are whole but for it; of one that breaks off nobody knows what is missing.
    lacksMore = states.first != .committed
    for table in JournalTable.all { writers[table] = try RowWriter(table, connection) }
  }

  /// First what tells of jobs, then what belongs to one.
  private enum Pass { case jobs, parts }

  private mutating func copyRows() throws {
    for index in states.indices {
      if index > 0 { states[index].leaveOut(states[0], Set(damaged.map(\.page))) }
      for number in states[index].numbers { try copyRows(number, index, .jobs) }
      states[index].jobs.sort()
      jobs.add(added)
      jobs.sort()
      added = SampleOwners()
      if index == 0, let oldest = states.last?.pages, states[0].hasLostPages(since: oldest) { lacksMore = true }
    }
    for index in states.indices {
      for number in states[index].numbers { try copyRows(number, index, .parts) }
      guard index > 0 else { continue }
      for number in damagedTensors.subtracting(states[index].numbers).sorted() { try copyRows(number, index, .parts) }
    }
    for (page, row) in damaged { if let what = describe(row) { findings.append("page \(page): \(what)") } }
    if orphans > 0 { findings.append("\(orphans) rows of jobs that are lost are left out") }
  }

  private mutating func copyRows(_ number: UInt32, _ index: Int, _ pass: Pass) throws {
    let rows = states[index].pages.rows(number)
    if index == 0, pass == .jobs { states[0].look(at: number, rows) }
    for row in rows {
      guard let table = row.table else {
        guard index == 0, pass == .jobs else { continue }
        damaged.append((number, row))
        if let table = row.likelyTable { wanted[table, default: []].insert(row.id) }
        continue
      }
      let isPart = [.ending, .choice, .sample, .output, .checkpoint, .attempt].contains(table)
      guard isPart == (pass == .parts) else { continue }
      let isWanted = index == 0 || lacksMore || wanted[table]?.contains(row.id) == true
      if table == .job { try copyJob(row, number, index, isWanted) }
      guard isWanted else { continue }
      if isPart { try copyPart(row, table, number, index) } else { try copy(row, table) }
    }
  }

  private mutating func copyJob(_ row: StoredRow, _ page: UInt32, _ index: Int, _ isWanted: Bool) throws {
    guard let number = row.int(2), let first = row.int(4), let stages = row.int(5) else { return }
    let count = row.withValue(11) { if case .blob(let bytes) = $0 { SeedRuns.decode(bytes).count } else { 0 } }
    guard count > 0 else { return }
    let id = JobID(rawValue: UInt64(journalValue: number))
    let place = JobPlace(row: row.id, first: first, count: Int64(count), stages: stages)
    states[index].jobs.add(id, place, page)
    // The samples of a job that was forgotten may have become those of another.
    guard isWanted, !jobs.overlap(place), isNewest(row, .job, 0) else { return }
    added.add(id, place, page)
    try write(row, .job)
  }

  private mutating func copy(_ row: StoredRow, _ table: JournalTable) throws {
    switch table {
    case .pipeline, .pipelineCopy:
      // The two tables have the same rows: one is enough for both.
      guard isNewest(row, .pipeline, 0) else { return }
      for table in [JournalTable.pipeline, .pipelineCopy] { try write(row, table) }
    case .turn: if isNewest(row, table, row.int(2) ?? 0) { try write(row, table) }
    case .quarantine: if isNewest(row, table, 0) { try write(row, table) }
    default: break
    }
  }

  private mutating func copyPart(_ row: StoredRow, _ table: JournalTable, _ page: UInt32, _ index: Int) throws {
    guard let (job, place) = owner(row, table, jobs) else {
      if index == 0 { orphans += 1 }
      return
    }
    // The job may have got the numbers of one that was forgotten, and this may be the other's.
    guard index == 0 || owner(row, table, states[index].jobs)?.id == job else { return }
    let version: Int64
    var hasTensor = true
    switch table {
    // That a job is forgotten comes after its end.
    case .ending: version = row.int(2) == nil ? 1 : 0
    case .sample: version = row.int(2) ?? 0
    case .attempt: version = row.int(3) ?? 0
    case .output:
      hasTensor = try self.hasTensor(row, digest: 2)
      if !hasTensor, !row.withValue(8, { if case .null = $0 { true } else { false } }), index == 0 {
        findings.append("page \(page): the tensor of \(name(row.id, job, place)) is damaged")
        wanted[table, default: []].insert(row.id)
        damagedTensors.insert(page)
      }
      version = hasTensor ? 1 : 0
    case .checkpoint:
      guard try self.hasTensor(row, digest: 4) else {
        let sample = (row.id >> JobPlace.slotBits) - place.first
        if index == 0 { findings.append("page \(page): a checkpoint of sample \(sample) of job \(job) is damaged") }
        return
      }
      version = (row.int(2) ?? 0) << 32 | (row.int(3) ?? 0)
    default: version = 0
    }
    if isNewest(row, table, version) { try write(row, table, withTensor: table.endsWithTensor && hasTensor) }
  }

  private mutating func isNewest(_ row: StoredRow, _ table: JournalTable, _ version: Int64) -> Bool {
    if let known = versions[table]?[row.id], known >= version { return false }
    versions[table, default: [:]][row.id] = version
    return true
  }

  private func write(_ row: StoredRow, _ table: JournalTable, withTensor: Bool = false) throws {
    guard let writer = writers[table] else { return }
    writer.begin(row.id)
    for column in table.sealedColumns { row.withValue(column + JournalTable.firstColumn) { writer.add($0) } }
    guard table.endsWithTensor else { return try writer.finish() }
    try row.withValue(table.columns.count - 1 + JournalTable.firstColumn) { value in
      switch value {
      case .blob(let bytes) where withTensor: try writer.finish(tensor: bytes)
      case .integer(let place) where withTensor: try writer.finish(tensorAt: TensorPlace(journalValue: place))
      default: try writer.finish(tensor: nil)
      }
    }
  }

  /// Whether the tensor at the row's end fits the digest in a column.
  private func hasTensor(_ row: StoredRow, digest: Int) throws -> Bool {
    let shape = row.withValue(7) { if case .text(let bytes) = $0 { String(decoding: bytes, as: UTF8.self) } else { "" } }
    let tensor = try row.withValue(8) { try StoredTensor($0, dtype: row.int(6) ?? 0, shape: shape, tensorFiles) }
    return row.withValue(digest) { if case .blob(let digest) = $0 { tensor?.fits(digest) ?? false } else { false } }
  }

  private func owner(_ row: StoredRow, _ table: JournalTable, _ jobs: SampleOwners) -> (id: JobID, place: JobPlace)? {
    switch table {
    case .ending, .choice: jobs.owner(ofRow: row.id)
    case .output: jobs.owner(ofSample: row.id >> JobPlace.stageBits)
    case .checkpoint: jobs.owner(ofSample: row.id >> JobPlace.slotBits)
    case .attempt: jobs.owner(ofSample: row.id >> JobPlace.attemptBits)
    default: jobs.owner(ofSample: row.id)
    }
  }

  // MARK: What is lost

  private func name(_ output: Int64, _ job: JobID, _ place: JobPlace) -> String {
    "stage \(output & 7) of sample \((output >> JobPlace.stageBits) - place.first) of job \(job)"
  }

  /// What a row without a seal seems to be: the number of its columns tells. `nil`: nothing to tell.
  private func describe(_ row: StoredRow) -> String? {
    if let table = row.likelyTable, versions[table]?[row.id] != nil {
      return "row \(row.id) of table \(table.name) is damaged; what it was before, or its copy, takes its place"
    }
    switch row.columns.count {
    // GRDB's own table.
    case 0...1: return nil
    case 12, 16:
      let id = row.int(2).map { "\(JobID(rawValue: UInt64(journalValue: $0)))" } ?? "?"
      return "row \(row.id), a job that seems to be \(id), is damaged: it is lost and has to be submitted again"
    case 11:
      guard let (job, place) = jobs.owner(ofSample: row.id) else { return "row \(row.id), the state of a sample, is damaged" }
      return "the state of sample \(row.id - place.first) of job \(job) is damaged: the sample's stage starts from its beginning"
    case 9:
      if row.likelyTable == .checkpoint { return "row \(row.id), a checkpoint, is damaged" }
      guard let (job, place) = jobs.owner(ofSample: row.id >> JobPlace.stageBits) else { return "row \(row.id), an output, is damaged" }
      return "the output of \(name(row.id, job, place)) is damaged"
    case 13: return "row \(row.id), an entry of a job's history, is damaged"
    case 6: return "row \(row.id), a pipeline, is damaged; there are two of each"
    case 4: return "row \(row.id), the end of a job, is damaged"
    case 3: return "row \(row.id), the number of the last commit or a choice of samples, is damaged"
    case 5: return "row \(row.id), a worker's quarantine, is damaged"
    default: return "row \(row.id) is damaged"
    }
  }
}
