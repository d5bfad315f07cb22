import Foundation
import GRDB
package import Wire
import ZeroMQ

/// The broker's memory on disk: one SQLite file in its data directory. Not `Sendable`: only the broker's own thread uses it.
package final class Journal {
  private let directory: DataDirectory
  let database: DatabaseQueue
  private var statements: [String: Statement] = [:]
  /// Most jobs have the options of the one before.
  private var lastOptions: (value: [StageOptions], text: String) = ([], "[]")

  /// Opens a directory, making it if it isn't there.
  package init(directory path: String) throws(JournalError) {
    directory = try DataDirectory(path)
    let file = directory.journalPath
    do {
      var configuration = Configuration()
      configuration.journalMode = .wal
      configuration.foreignKeysEnabled = false
      configuration.label = "journal"
      database = try DatabaseQueue(path: file, configuration: configuration)
      try Self.claim(database, file)
      let migrator = JournalSchema.migrator
      if try database.read(migrator.hasBeenSuperseded) {
        throw JournalError(.newer, "journal \(file) was written by a newer weir-broker; use that one or a newer, or another --data")
      }
      try migrator.migrate(database)
      // An acknowledgement leaves only after its record is on disk, so every commit waits for the disk.
      try database.writeWithoutTransaction { db in
        try db.execute(
          sql: """
            PRAGMA synchronous = FULL;
            PRAGMA wal_autocheckpoint = 4000;
            PRAGMA journal_size_limit = 67108864;
            PRAGMA cache_size = -16000;
            """)
        guard try Int.fetchOne(db, sql: "PRAGMA synchronous") == 2 else {
          throw JournalError(.unusable, "journal \(file): SQLite does not accept synchronous = FULL")
        }
      }
    } catch {
      throw JournalError(error, path: file)
    }
  }

  /// Marks a new file as a journal; refuses one that belongs to another program.
  private static func claim(_ database: DatabaseQueue, _ file: String) throws {
    try database.writeWithoutTransaction { db in
      let owner = try Int32.fetchOne(db, sql: "PRAGMA application_id") ?? 0
      if owner == JournalSchema.applicationID { return }
      guard owner == 0, try Int.fetchOne(db, sql: "SELECT COUNT(*) FROM sqlite_master") == 0 else {
        throw JournalError(.foreign, "\(file) belongs to another program; choose another data directory, or move the file away")
      }
      try db.execute(sql: "PRAGMA application_id = \(JournalSchema.applicationID)")
    }
  }

  /// Closes the file and gives up the directory. Nothing may be called after.
  package func close() throws(JournalError) {
    defer { directory.unlock() }
    statements = [:]
    do { try database.close() } catch { throw JournalError(error, path: directory.journalPath) }
  }

  // MARK: Writing

  /// Puts all of the records on disk, or none.
  package func commit(_ records: some Sequence<Record>) throws(JournalError) {
    do {
      try database.writeWithoutTransaction { db in
        try db.inTransaction(.immediate) {
          for record in records { try write(record, to: db) }
          return .commit
        }
      }
    } catch {
      // SQLite cannot use a statement again that failed.
      statements = [:]
      throw JournalError(error, path: directory.journalPath, writing: true)
    }
  }

  private func run(_ db: Database, _ sql: String, _ arguments: StatementArguments) throws {
    let statement: Statement
    if let known = statements[sql] {
      statement = known
    } else {
      statement = try db.makeStatement(sql: sql)
      statements[sql] = statement
    }
    try statement.execute(arguments: arguments)
  }

  private func write(_ record: Record, to db: Database) throws {
    switch record {
    case .pipeline(let info):
      try run(
        db, "INSERT OR REPLACE INTO pipeline VALUES (?, ?, ?, ?)",
        [Data(info.digest), info.name, try journalText(info.labels), try journalText(info.stages.map(StageRow.init))])
    case .pipelineForgotten(let digest):
      try run(db, "DELETE FROM pipeline WHERE digest = ?", [Data(digest)])
    case .accepted(let job):
      try accept(job, db)
    case .leased(let ref):
      try run(
        db, "UPDATE sample SET attempt = ?, leased = 1 WHERE job = ? AND number = ?", [ref.attempt] + place(ref.task.job, ref.task.sample))
    case .released(let task, let failures):
      try run(db, "UPDATE sample SET failures = ?, leased = 0 WHERE job = ? AND number = ?", [failures] + place(task.job, task.sample))
    case .failuresCounted(let task, let failures):
      try run(db, "UPDATE sample SET failures = ? WHERE job = ? AND number = ?", [failures] + place(task.job, task.sample))
    case .checkpoint(let task, let checkpoint, let tensors):
      try deleteCheckpoint(task, db)
      for (slot, tensor) in tensors.enumerated() { try insert(tensor, of: task, slot: slot, digest: tensor.digest, db) }
      try run(
        db,
        """
        UPDATE sample SET failures = 0, checkpoint_step = ?, checkpoint_numerics = ?, checkpoint_bytes = ? WHERE job = ? AND number = ?
        """, [checkpoint.step, checkpoint.numerics, checkpoint.bytes.journalValue] + place(task.job, task.sample))
    case .checkpointDropped(let task):
      try deleteCheckpoint(task, db)
      try run(
        db,
        "UPDATE sample SET checkpoint_step = NULL, checkpoint_numerics = NULL, checkpoint_bytes = NULL WHERE job = ? AND number = ?",
        place(task.job, task.sample))
    case .stageDone(let task, let outcome, let output):
      try finish(task, outcome, output, db)
    case .sampleFailed(let job, let sample, let reason):
      try run(db, "DELETE FROM tensor WHERE job = ? AND sample = ?", place(job, sample))
      try run(
        db,
        """
        UPDATE sample SET error = ?, leased = 0, checkpoint_step = NULL, checkpoint_numerics = NULL, checkpoint_bytes = NULL
        WHERE job = ? AND number = ?
        """, [reason] + place(job, sample))
    case .finished(let job, let state, let unixMilliseconds):
      let id = job.rawValue.journalValue
      try run(
        db, "UPDATE job SET state = ?, finished = ? WHERE id = ?", [state.journalCode, unixMilliseconds.journalValue, id])
      if state == .cancelled {
        try run(
          db, "DELETE FROM tensor WHERE job = ? AND (slot >= 0 OR stage < (SELECT stages - 1 FROM job WHERE id = ?))", [id, id])
      }
    case .forgotten(let job):
      for table in ["tensor", "outcome", "sample"] {
        try run(db, "DELETE FROM \(table) WHERE job = ?", [job.rawValue.journalValue])
      }
      try run(db, "DELETE FROM job WHERE id = ?", [job.rawValue.journalValue])
    }
  }

  private func accept(_ job: JobRecord, _ db: Database) throws {
    if job.options != lastOptions.value {
      lastOptions = (job.options, try journalText(job.options.map(OptionsRow.init)))
    }
    let id = job.id.rawValue.journalValue
    try run(
      db, "INSERT INTO job VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
      [
        id, job.sequence.journalValue, Data(job.pipeline), job.key, lastOptions.text, job.options.count, job.truncated,
        job.submittedUnixMilliseconds.journalValue,
      ])
    for (number, sample) in job.samples.enumerated() {
      try run(
        db, "INSERT INTO sample (job, number, label, seed) VALUES (?, ?, ?, ?)", [id, number, sample.label, sample.seed.journalValue])
    }
  }

  private func finish(_ task: TaskID, _ outcome: StageOutcome, _ output: WireTensor, _ db: Database) throws {
    let place = place(task.job, task.sample)
    let digest = outcome.digest.bytes
    // The input and the checkpoint; the output takes their place.
    try run(db, "DELETE FROM tensor WHERE job = ? AND sample = ?", place)
    try insert(output, of: task, slot: -1, digest: digest, db)
    try run(
      db, "INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?)",
      place + [task.stage, Data(digest), outcome.numerics, outcome.bytes.journalValue])
    try run(
      db,
      """
      UPDATE sample SET attempt = 0, failures = 0, leased = 0, checkpoint_step = NULL, checkpoint_numerics = NULL, checkpoint_bytes = NULL
      WHERE job = ? AND number = ?
      """, place)
  }

  private func deleteCheckpoint(_ task: TaskID, _ db: Database) throws {
    try run(db, "DELETE FROM tensor WHERE job = ? AND sample = ? AND slot >= 0", place(task.job, task.sample))
  }

  private func insert(_ tensor: WireTensor, of task: TaskID, slot: Int, digest: [UInt8], _ db: Database) throws {
    try tensor.data.withUnsafeBytes { bytes in
      // The statement is done with the bytes before this returns.
      let data = UnsafeMutableRawPointer(mutating: bytes.baseAddress).map {
        Data(bytesNoCopy: $0, count: bytes.count, deallocator: .none)
      }
      try run(
        db,
        """
        INSERT INTO tensor (job, sample, stage, slot, name, dtype, shape, digest, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        place(task.job, task.sample) + [
          task.stage, slot, tensor.name, tensor.dtype.journalCode, tensor.shape.map(String.init).joined(separator: ","), Data(digest),
          data ?? Data(),
        ])
    }
  }

  private func place(_ job: JobID, _ sample: UInt32) -> StatementArguments { [job.rawValue.journalValue, sample] }

  // MARK: Reading tensors

  /// The output of a stage, checked against the digest it was written with.
  package func output(_ key: TensorKey) throws(JournalError) -> WireTensor {
    let tensors = try tensors("job = ? AND sample = ? AND stage = ? AND slot = -1", place(key.job, key.sample) + [key.stage])
    guard let tensor = tensors.first else {
      throw JournalError(.damaged, "journal \(directory.journalPath) has no output of stage \(key.stage) of \(key.job)-\(key.sample)")
    }
    return tensor
  }

  /// The tensors of a task's latest checkpoint, checked likewise.
  package func checkpoint(of task: TaskID) throws(JournalError) -> [WireTensor] {
    let tensors = try tensors(
      "job = ? AND sample = ? AND stage = ? AND slot >= 0 ORDER BY slot", place(task.job, task.sample) + [task.stage])
    guard !tensors.isEmpty else { throw JournalError(.damaged, "journal \(directory.journalPath) has no checkpoint of \(task)") }
    return tensors
  }

  private func tensors(_ condition: String, _ arguments: StatementArguments) throws(JournalError) -> [WireTensor] {
    do {
      return try database.writeWithoutTransaction { db in
        let rows = try Row.fetchCursor(
          db.cachedStatement(sql: "SELECT name, dtype, shape, digest, data FROM tensor WHERE \(condition)"), arguments: arguments)
        var tensors: [WireTensor] = []
        while let row = try rows.next() { tensors.append(try tensor(row)) }
        return tensors
      }
    } catch {
      throw JournalError(error, path: directory.journalPath)
    }
  }

  // MARK: Restoring

  /// Everything that was committed, tensors excepted.
  package func restore() throws(JournalError) -> Snapshot {
    do {
      return try database.read { db in
        try JournalReader(path: directory.journalPath).snapshot(db)
      }
    } catch {
      throw JournalError(error, path: directory.journalPath)
    }
  }

  private func tensor(_ row: Row) throws -> WireTensor {
    try JournalReader(path: directory.journalPath).tensor(row)
  }
}
