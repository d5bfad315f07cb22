import GRDB

@testable import Broker

extension Journal {
  /// Changes the file behind the journal's back.
  func execute(_ sql: String) throws {
    try database.writeWithoutTransaction { try $0.execute(sql: sql) }
  }

  func count(_ table: String) throws -> Int {
    try database.read { try Int.fetchOne($0, sql: "SELECT COUNT(*) FROM \(table)") ?? 0 }
  }
}

/// Keeps everybody else from writing to a journal.
final class WriteLock {
  private let database: DatabaseQueue

  init(_ path: String) throws {
    var configuration = Configuration()
    configuration.busyMode = .timeout(10)
    configuration.allowsUnsafeTransactions = true
    database = try DatabaseQueue(path: path, configuration: configuration)
    try database.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
  }

  func release() throws {
    try database.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
    try database.close()
  }
}

/// Makes a journal as version 2 did, of one whose jobs have nothing that version 3 added.
func makeOlderJournal(at path: String, of newer: String) throws {
  let database = try DatabaseQueue(path: path)
  try database.writeWithoutTransaction { db in
    let header = "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA application_id = "
    try db.execute(sql: header + "\(JournalSchema.applicationID)")
  }
  try JournalSchema.migrator.migrate(database, upTo: "2")
  try database.writeWithoutTransaction { db in
    try db.execute(sql: "ATTACH '\(newer)' AS newer")
    for table in ["turn", "pipeline", "pipeline_copy", "ending", "sample", "output", "checkpoint"] {
      try db.execute(sql: "INSERT INTO \(table) SELECT * FROM newer.\(table)")
    }
    let columns = JournalTable.job.columns.prefix(10).joined(separator: ", ")
    try db.execute(sql: "INSERT INTO job SELECT id, seal, \(columns) FROM newer.job; DETACH newer")
  }
  try database.close()
}
