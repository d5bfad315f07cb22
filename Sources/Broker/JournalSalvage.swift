import Digests
import Foundation
import GRDB
import Wire

/// Builds a new journal from whatever rows of a damaged one are what was written.
///
/// It looks at every page for itself: where a tree of SQLite's is damaged, the rows beyond are still there.
struct JournalSalvage {
  private let pages: JournalPages
  private let free: Set<UInt32>
  private let connection: SQLConnection
  private var writers: [JournalTable: RowWriter] = [:]
  /// By their first sample.
  private var jobs: [(id: JobID, place: JobPlace)] = []
  /// What was written of rows that may be there in several versions, of which the newest counts.
  private var versions: [JournalTable: [Int64: Int64]] = [:]
  private var orphans = 0
  private(set) var findings: [String] = []

  /// - Returns: what was lost, a line each.
  static func rebuild(_ pages: JournalPages, at path: String) throws -> [String] {
    for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) }
    let database = try DatabaseQueue(path: path, configuration: JournalOpening.configuration)
    defer { try? database.close() }
    let connection = try JournalOpening.prepare(database, path)
    var salvage = try JournalSalvage(pages, connection)
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

  private init(_ pages: JournalPages, _ connection: SQLConnection) throws {
    self.pages = pages
    self.connection = connection
    free = pages.free
    for table in JournalTable.all { writers[table] = try RowWriter(table, connection) }
  }

  /// First what tells of jobs, then what belongs to one.
  private enum Pass { case jobs, samples }

  private mutating func copyRows() throws {
    try copyRows(.jobs)
    jobs.sort { $0.place.first < $1.place.first }
    try copyRows(.samples)
    if orphans > 0 { findings.append("\(orphans) rows of jobs that are lost are left out") }
  }

  private mutating func copyRows(_ pass: Pass) throws {
    guard pages.count > 1 else { return }
    for number in 2...pages.count where !free.contains(number) {
      try copyRows(pages.withPage(number) { StoredRow.rows(of: $0, in: pages) }, number, pass)
    }
    for (number, offset) in pages.spares {
      try copyRows(spareRows(number, offset), number, pass)
    }
  }

  /// The rows of a page's older version that the damaged newer one has lost, and not those that it has no more.
  private func spareRows(_ number: UInt32, _ offset: Int) -> [StoredRow] {
    let newer = pages.withPage(number) { StoredRow.rows(of: $0, in: pages) }
    let older = pages.withVersion(number, offset) { StoredRow.rows(of: $0, in: pages) }
    let damaged = Set(newer.filter { $0.table == nil }.map(\.id))
    // A page that says it has none may have lost its head.
    let cells = pages.withPage(number) { StoredRow.count($0) }
    return cells != 0 && newer.count == cells ? older.filter { damaged.contains($0.id) } : older
  }

  private mutating func copyRows(_ rows: [StoredRow], _ page: UInt32, _ pass: Pass) throws {
    for row in rows {
      if let table = row.table {
        let isOfSample = [.sample, .output, .checkpoint, .attempt].contains(table)
        if isOfSample == (pass == .samples) { try copy(row, table, page) }
      } else if let what = describe(row, pass) {
        findings.append("page \(page): \(what)")
      }
    }
  }

  private mutating func copy(_ row: StoredRow, _ table: JournalTable, _ page: UInt32) throws {
    switch table {
    case .pipeline, .pipelineCopy:
      // The two tables have the same rows: one is enough for both.
      for table in [JournalTable.pipeline, .pipelineCopy] { try write(row, table) }
    case .job:
      guard let id = row.int(2), let first = row.int(4), let stages = row.int(5) else { return }
      let count = row.withValue(11) { if case .blob(let bytes) = $0 { SeedRuns.decode(bytes).count } else { 0 } }
      guard count > 0, isNewest(row, table, 0) else { return }
      jobs.append(
        (
          JobID(rawValue: UInt64(journalValue: id)),
          JobPlace(row: row.id, first: first, count: Int64(count), stages: stages)
        ))
      try write(row, table)
    // That a job is forgotten comes after its end.
    case .ending: if isNewest(row, table, row.int(2) == nil ? 1 : 0) { try write(row, table) }
    case .turn: if isNewest(row, table, row.int(2) ?? 0) { try write(row, table) }
    case .sample:
      guard job(ofSample: row.id) != nil else {
        orphans += 1
        return
      }
      if isNewest(row, table, row.int(2) ?? 0) { try write(row, table) }
    case .output:
      guard let (job, place) = job(ofSample: row.id >> JobPlace.stageBits) else {
        orphans += 1
        return
      }
      let isWhole = hasTensor(row, digest: 2)
      if !isWhole, !row.withValue(8, { if case .null = $0 { true } else { false } }) {
        findings.append("page \(page): the tensor of \(name(row.id, job, place)) is damaged")
      }
      if isNewest(row, table, isWhole ? 1 : 0) { try write(row, table, withTensor: isWhole) }
    case .checkpoint:
      guard let (job, place) = job(ofSample: row.id >> JobPlace.slotBits) else {
        orphans += 1
        return
      }
      guard hasTensor(row, digest: 4) else {
        findings.append(
          "page \(page): a checkpoint of sample \((row.id >> JobPlace.slotBits) - place.first) of job \(job) is damaged")
        return
      }
      if isNewest(row, table, (row.int(2) ?? 0) << 32 | (row.int(3) ?? 0)) { try write(row, table, withTensor: true) }
    case .choice, .quarantine: if isNewest(row, table, 0) { try write(row, table) }
    case .attempt:
      guard job(ofSample: row.id >> JobPlace.attemptBits) != nil else {
        orphans += 1
        return
      }
      if isNewest(row, table, row.int(3) ?? 0) { try write(row, table) }
    default: break
    }
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
      if withTensor, case .blob(let bytes) = value { try writer.finish(tensor: bytes) } else { try writer.finish(tensor: nil) }
    }
  }

  /// Whether the tensor at the row's end fits the digest in a column.
  private func hasTensor(_ row: StoredRow, digest: Int) -> Bool {
    row.withValue(8) { value in
      guard case .blob(let data) = value else { return false }
      return row.withValue(digest) { if case .blob(let digest) = $0 { sha256(data).elementsEqual(digest) } else { false } }
    }
  }

  // MARK: What is lost

  private func job(ofSample number: Int64) -> (JobID, JobPlace)? {
    var low = 0
    var high = jobs.count
    while low < high {
      let middle = (low + high) / 2
      if jobs[middle].place.first <= number { low = middle + 1 } else { high = middle }
    }
    guard low > 0, jobs[low - 1].place.samples.contains(number) else { return nil }
    return jobs[low - 1]
  }

  private func name(_ output: Int64, _ job: JobID, _ place: JobPlace) -> String {
    "stage \(output & 7) of sample \((output >> JobPlace.stageBits) - place.first) of job \(job)"
  }

  /// What a row without a seal seems to be: the number of its columns tells. `nil`: nothing to tell in this pass.
  private func describe(_ row: StoredRow, _ pass: Pass) -> String? {
    switch (row.columns.count, pass) {
    // GRDB's own table.
    case (0...1, _): return nil
    case (12, .jobs), (16, .jobs):
      let id = row.int(2).map { "\(JobID(rawValue: UInt64(journalValue: $0)))" } ?? "?"
      return "row \(row.id), a job that seems to be \(id), is damaged: it is lost and has to be submitted again"
    case (11, .samples):
      guard let (job, place) = job(ofSample: row.id) else { return "row \(row.id), the state of a sample, is damaged" }
      return "the state of sample \(row.id - place.first) of job \(job) is damaged: the sample's stage starts from its beginning"
    case (9, .samples):
      if row.int(2) != nil { return "row \(row.id), a checkpoint, is damaged" }
      guard let (job, place) = job(ofSample: row.id >> JobPlace.stageBits) else { return "row \(row.id), an output, is damaged" }
      return "the output of \(name(row.id, job, place)) is damaged"
    case (13, .samples): return "row \(row.id), an entry of a job's history, is damaged"
    case (9, _), (11, _), (13, _), (_, .samples): return nil
    case (6, _): return "row \(row.id), a pipeline, is damaged; there are two of each"
    case (4, _): return "row \(row.id), the end of a job, is damaged"
    case (3, _): return "row \(row.id), the number of the last commit or a choice of samples, is damaged"
    case (5, _): return "row \(row.id), a worker's quarantine, is damaged"
    default: return "row \(row.id) is damaged"
    }
  }
}
