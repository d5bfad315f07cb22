import Digests
import Foundation
import GRDB
package import Wire
import ZeroMQ

/// The broker's memory on disk: one SQLite file in its data directory. Not `Sendable`: only the broker's own thread uses it.
package final class Journal {
  /// What giving back space moves at a time.
  private static let pagesPerSlice = 1_024
  private static let leastFreePages = 256

  private let directory: DataDirectory
  let database: DatabaseQueue
  private let connection: SQLConnection
  private let mark: JournalMark
  private let tensorFiles: TensorFiles
  private var statements: Statements?
  /// `nil` after a commit failed: memory is ahead of the disk, and is read again.
  private var writer: JournalWriter?
  /// What opening read, until somebody asks for it.
  private var restored: Snapshot?
  /// What of the journal was found damaged or lost at opening, a line each.
  package private(set) var findings: [String]

  private struct Statements {
    let begin: SQLStatement
    let commit: SQLStatement
    let rollback: SQLStatement
    let output: SQLStatement
    let checkpoint: SQLStatement
    let attempts: SQLStatement

    init(_ connection: SQLConnection) throws {
      begin = try SQLStatement(connection, "BEGIN IMMEDIATE")
      commit = try SQLStatement(connection, "COMMIT")
      rollback = try SQLStatement(connection, "ROLLBACK")
      output = try SQLStatement(connection, "SELECT \(JournalTable.output.columnList), data FROM output WHERE id = ?")
      checkpoint = try SQLStatement(
        connection, "SELECT \(JournalTable.checkpoint.columnList), data FROM checkpoint WHERE id BETWEEN ? AND ? ORDER BY id")
      attempts = try SQLStatement(
        connection, "SELECT \(JournalTable.attempt.columnList) FROM attempt WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?")
    }
  }

  /// Opens a directory, making it if it isn't there.
  package init(directory path: String, tensors limits: TensorFiles.Limits = TensorFiles.Limits()) throws(JournalError) {
    directory = try DataDirectory(path)
    let file = directory.files.journal
    do {
      let opened = try JournalOpening.open(directory.files)
      database = opened.database
      connection = opened.connection
      mark = opened.mark
      findings = opened.findings
      restored = opened.contents.snapshot
      tensorFiles = TensorFiles(directory.files, limits)
      writer = try JournalWriter(connection, tensorFiles, opened.contents)
      statements = try Statements(connection)
      // A turn of the broker waits for nobody.
      try connection.execute("PRAGMA busy_timeout = 0")
    } catch {
      throw JournalError(error, path: file)
    }
  }

  /// Closes the file and gives up the directory. Nothing may be called after.
  package func close() throws(JournalError) {
    defer { directory.unlock() }
    statements = nil
    writer = nil
    mark.close()
    tensorFiles.close()
    do { try database.close() } catch { throw JournalError(error, path: directory.files.journal) }
  }

  // MARK: Writing

  /// Puts all of the records on disk, or none. After `.stalled` the same can be tried again; after other failures too, but with other records.
  package func commit(_ records: some Sequence<Record>) throws(JournalError) { try commit(records, moving: nil) }

  /// - Parameter file: tensors to move on the way.
  private func commit(_ records: some Sequence<Record>, moving file: Int64?) throws(JournalError) {
    do {
      // On GRDB's own thread of execution, because SQLite tells it of every commit.
      restored = nil
      try database.writeWithoutTransaction { _ in try write(records, moving: file) }
      mark.write(turn: writer?.turn ?? 0)
    } catch {
      // SQLite does not say why a write failed. One that never reached the disk can be tried again; a sync that failed can't.
      if let error = error as? DatabaseError, error.extendedResultCode == .SQLITE_IOERR_WRITE, mark.isReadOnly {
        throw JournalError(
          .stalled, "journal \(directory.files.journal): its disk is read-only; make it writable: nothing that was acknowledged is lost")
      }
      throw JournalError(error, path: directory.files.journal, writing: true)
    }
  }

  private func write(_ records: some Sequence<Record>, moving file: Int64?) throws {
    guard let statements else { throw JournalError(.unusable, "journal \(directory.files.journal) is closed") }
    try statements.begin.run()
    do {
      _ = try places()
      try writer?.write(records)
      if let file { try writer?.moveTensors(from: file) }
      try tensorFiles.sync()
      try statements.commit.run()
      tensorFiles.commit()
    } catch {
      writer = nil
      // SQLite may have rolled back by itself.
      try? statements.rollback.run()
      tensorFiles.rollBack()
      throw error
    }
  }

  /// Whether there is something to do for `tidy`.
  package var isUntidy: Bool { writer.map { $0.isPurging || $0.hasDeleted || tensorFiles.isUntidy } ?? false }

  /// Goes on with deleting what was forgotten and with giving its space back, for some milliseconds.
  package func tidy() throws(JournalError) {
    guard let writer, isUntidy else { return }
    if writer.isPurging { return try commit(EmptyCollection()) }
    switch tensorFiles.housekeeping() {
    case .remove(let unused): return try removeTensors(unused)
    case .move(let file): return try commit(EmptyCollection(), moving: file)
    case nil: break
    }
    guard writer.hasDeleted else { return }
    do {
      try database.writeWithoutTransaction { db in
        let free = try Int.fetchOne(db, sql: "PRAGMA freelist_count") ?? 0
        let all = try Int.fetchOne(db, sql: "PRAGMA page_count") ?? 0
        // What is free is used again, so some of it stays.
        if free > max(Self.leastFreePages, all / 8) {
          try db.execute(sql: "PRAGMA incremental_vacuum(\(Self.pagesPerSlice))")
        } else {
          self.writer?.hasDeleted = false
        }
      }
    } catch {
      throw JournalError(error, path: directory.files.journal, writing: true)
    }
  }

  /// Not before the log is empty: if it were damaged, commits from before would count, whose rows still point there. Nor while somebody else reads
  /// the journal, and perhaps copies it.
  private func removeTensors(_ files: [Int64]) throws(JournalError) {
    do {
      let isEmpty = try database.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA wal_checkpoint(TRUNCATE)") == 0 }
      if isEmpty { tensorFiles.remove(files) } else { tensorFiles.postpone() }
    } catch {
      throw JournalError(error, path: directory.files.journal, writing: true)
    }
  }

  // MARK: Reading tensors

  /// The output of a stage, checked against the digest it was written with.
  ///
  /// - Throws: `.notKept` once nobody needs it, or its job is forgotten, and if it was not written.
  package func output(_ key: TensorKey) throws(JournalError) -> WireTensor {
    let tensors = try read { () throws -> [WireTensor] in
      guard let statements, let id = try places().output(key) else { return [] }
      statements.output.bind(1, id)
      return try self.tensors(statements.output, .output, digest: 2, name: 5)
    }
    guard let tensor = tensors.first else {
      throw JournalError(
        .notKept, "journal \(directory.files.journal) does not keep the output of stage \(key.stage) of \(key.job)-\(key.sample) any more")
    }
    return tensor
  }

  /// The tensors of a task's latest checkpoint, checked likewise.
  package func checkpoint(of task: TaskID) throws(JournalError) -> [WireTensor] {
    let tensors = try read { () throws -> [WireTensor] in
      guard let statements, let checkpoint = try places().checkpoint(task) else { return [] }
      statements.checkpoint.bind(1, checkpoint.slots.lowerBound)
      statements.checkpoint.bind(2, checkpoint.slots.upperBound)
      let tensors = try self.tensors(
        statements.checkpoint, .checkpoint, digest: 4, name: 5, [Int64(task.stage), Int64(checkpoint.record.step)])
      // Of a damaged journal one of them may be lost, or another may be there of before.
      return tensors.reduce(0) { $0 + UInt64($1.data.count) } == checkpoint.record.bytes ? tensors : []
    }
    guard !tensors.isEmpty else { throw JournalError(.damaged, "journal \(directory.files.journal) has no checkpoint of \(task)") }
    return tensors
  }

  /// Where everything is; read again if memory is ahead of the disk.
  private func places() throws -> JournalWriter {
    if let writer { return writer }
    let writer = try JournalWriter(connection, tensorFiles, read().contents)
    self.writer = writer
    return writer
  }

  private func read<Value>(_ body: () throws -> Value) throws(JournalError) -> Value {
    do { return try body() } catch { throw JournalError(error, path: directory.files.journal) }
  }

  /// - Parameters:
  ///   - digest: the column of the digest.
  ///   - name: that of the tensor's name, which type, shape, length, place and data follow.
  ///   - first: what the first columns after the seal have to be.
  private func tensors(
    _ statement: SQLStatement, _ table: JournalTable, digest: Int32, name: Int32, _ first: [Int64] = []
  ) throws -> [WireTensor] {
    var tensors: [WireTensor] = []
    defer { statement.reset() }
    while try statement.step() {
      if first.enumerated().contains(where: { statement.int(Int32($0.offset + JournalTable.firstColumn)) != $0.element }) { continue }
      let isWhole = table.isWhole(statement)
      if isWhole, statement.isNull(name + 5) || JournalTable.isUnwritten(statement, length: name + 3) { continue }
      guard isWhole, let dtype = WireTensor.DType(journalCode: Int(statement.int(name + 1))),
        let stored = try StoredTensor(statement, dtype: name + 1, data: name + 5, tensorFiles.reader),
        stored.fits(statement.bytes(digest))
      else { throw JournalError(.damaged, "journal \(directory.files.journal) has a tensor that does not fit its digest") }
      tensors.append(
        try WireTensor(name: statement.text(name), dtype: dtype, shape: ShapeText.decode(statement.text(name + 2)), data: stored.frame))
    }
    return tensors
  }

  // MARK: Reading histories

  /// Attempts at a job that are over, by sample, stage and number.
  ///
  /// - Parameters:
  ///   - sample: the first one wanted.
  ///   - limit: attempts at most.
  package func attempts(_ job: JobID, from sample: UInt32, limit: Int) throws(JournalError) -> [Attempt] {
    let attempts = try read { () throws -> [Attempt] in
      guard let row = statements?.attempts else { return [] }
      let (first, ids) = try places().attempts(job, from: sample)
      row.bind(1, ids.lowerBound)
      row.bind(2, ids.upperBound)
      row.bind(3, Int64(limit))
      defer { row.reset() }
      var attempts: [Attempt] = []
      while try row.step() {
        guard JournalTable.attempt.isWhole(row), let state = JobState(journalCode: Int(row.int(8))) else {
          throw JournalError(.damaged, "journal \(directory.files.journal) has a damaged row \(row.int(0)) in table attempt")
        }
        attempts.append(
          Attempt(
            sample: UInt32(clamping: row.int(0) >> JobPlace.attemptBits - first), stage: UInt32(clamping: row.int(2)),
            number: UInt32(clamping: row.int(3)), worker: row.text(4), numerics: row.text(5),
            startedUnixMilliseconds: UInt64(journalValue: row.int(6)),
            endedUnixMilliseconds: row.isNull(7) ? nil : UInt64(journalValue: row.int(7)), state: state,
            firstStep: UInt32(clamping: row.int(9)), lastStep: UInt32(clamping: row.int(10)),
            stepMilliseconds: row.isNull(11) ? nil : Double(row.int(11)) / 1_000, reason: row.isNull(12) ? nil : row.text(12)))
      }
      return attempts
    }
    return attempts.sorted { ($0.sample, $0.stage, $0.number) < ($1.sample, $1.stage, $1.number) }
  }

  // MARK: Restoring

  /// Everything that was committed, tensors excepted.
  package func restore() throws(JournalError) -> Snapshot {
    if let restored {
      self.restored = nil
      return restored
    }
    return try read { try self.read().contents.snapshot }
  }

  private func read() throws -> (contents: JournalReader.Contents, findings: [String]) {
    var reader = JournalReader(directory.files, connection)
    return (try reader.read(), reader.findings)
  }
}
