import Foundation
import GRDBSQLite

/// What SQLite alone takes to write tensors as durably as the broker does: each transaction keeps some new ones and empties those of the one
/// before, whose readers have them by then.
enum PlainSQLite {
  /// - Parameters:
  ///   - folder: on the disk that is measured; a file is made there and removed.
  ///   - perCommit: tensors of a transaction.
  /// - Returns: tensors a second.
  static func rate(in folder: String, bytes: Int, tensors: Int, perCommit: Int) throws -> Double {
    let path = "\(folder)/plain-\(UUID().uuidString).sqlite"
    defer { for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) } }
    var database: OpaquePointer?
    defer { sqlite3_close(database) }
    try check(sqlite3_open(path, &database), database)
    func run(_ sql: String) throws { try check(sqlite3_exec(database, sql, nil, nil, nil), database) }
    func prepare(_ sql: String) throws -> OpaquePointer? {
      var statement: OpaquePointer?
      try check(sqlite3_prepare_v2(database, sql, -1, &statement, nil), database)
      return statement
    }
    // As the journal is opened.
    try run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000")
    try run("CREATE TABLE output (id INTEGER PRIMARY KEY, data BLOB)")
    let insert = try prepare("INSERT INTO output (id, data) VALUES (?, ?)")
    let empty = try prepare("UPDATE output SET data = NULL WHERE id BETWEEN ? AND ?")
    defer { for statement in [insert, empty] { sqlite3_finalize(statement) } }
    let data = (0..<bytes).map { _ in UInt8.random(in: .min ... .max) }
    let start = ContinuousClock.now
    var written = 0
    while written < tensors {
      try run("BEGIN IMMEDIATE")
      for id in written..<written + perCommit {
        sqlite3_bind_int64(insert, 1, Int64(id))
        try data.withUnsafeBytes { bytes in
          try check(sqlite3_bind_blob(insert, 2, bytes.baseAddress, Int32(bytes.count), nil), database)
          try check(sqlite3_step(insert), database, expecting: SQLITE_DONE)
        }
        sqlite3_reset(insert)
      }
      if written > 0 {
        sqlite3_bind_int64(empty, 1, Int64(written - perCommit))
        sqlite3_bind_int64(empty, 2, Int64(written - 1))
        try check(sqlite3_step(empty), database, expecting: SQLITE_DONE)
        sqlite3_reset(empty)
      }
      try run("COMMIT")
      written += perCommit
    }
    return Double(written) / ((ContinuousClock.now - start) / .seconds(1))
  }

  private static func check(_ status: Int32, _ database: OpaquePointer?, expecting: Int32 = SQLITE_OK) throws {
    guard status == expecting else { throw Broken("SQLite: \(String(cString: sqlite3_errmsg(database)))") }
  }
}
