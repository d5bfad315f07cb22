import GRDB
import GRDBSQLite

/// SQLite's own interface to a database that GRDB opened. GRDB boxes every value on its way, which costs more than SQLite itself does for
/// rows as small as a journal's.
struct SQLConnection {
  let handle: OpaquePointer

  /// - Returns: `nil` if the database is closed.
  init?(_ database: Database) {
    guard let handle = database.sqliteConnection else { return nil }
    self.handle = handle
  }

  func execute(_ sql: String) throws(DatabaseError) {
    let code = sqlite3_exec(handle, sql, nil, nil, nil)
    if code != SQLITE_OK { throw failure(code) }
  }

  /// Rows that the last statement changed.
  var changes: Int { Int(sqlite3_changes(handle)) }

  func failure(_ code: Int32) -> DatabaseError {
    DatabaseError(resultCode: ResultCode(rawValue: code), message: String(cString: sqlite3_errmsg(handle)))
  }
}

/// A prepared statement. Parameters count from 1, columns from 0. Bound values stay until they are bound anew.
final class SQLStatement {
  private let connection: SQLConnection
  private let handle: OpaquePointer

  /// SQLite copies what it is given.
  private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

  init(_ connection: SQLConnection, _ sql: String) throws(DatabaseError) {
    self.connection = connection
    var handle: OpaquePointer?
    let code = sqlite3_prepare_v3(connection.handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &handle, nil)
    guard code == SQLITE_OK, let handle else { throw connection.failure(code) }
    self.handle = handle
  }

  deinit { sqlite3_finalize(handle) }

  // MARK: Parameters

  func bind(_ index: Int32, _ value: Int64) { sqlite3_bind_int64(handle, index, value) }

  func bindNull(_ index: Int32) { sqlite3_bind_null(handle, index) }

  func bind(_ index: Int32, text: UnsafeRawBufferPointer) {
    // A null pointer would be NULL instead of an empty value.
    guard let base = text.baseAddress else { return bindEmptyText(index) }
    sqlite3_bind_text(handle, index, base.assumingMemoryBound(to: CChar.self), Int32(text.count), Self.transient)
  }

  func bind(_ index: Int32, blob: UnsafeRawBufferPointer) {
    guard let base = blob.baseAddress else { return bindEmptyBlob(index) }
    sqlite3_bind_blob(handle, index, base, Int32(blob.count), Self.transient)
  }

  /// Binds bytes without a copy: they have to stay until the statement has run and something else is bound.
  func bind(_ index: Int32, borrowing blob: UnsafeRawBufferPointer) {
    guard let base = blob.baseAddress else { return bindEmptyBlob(index) }
    sqlite3_bind_blob(handle, index, base, Int32(blob.count), nil)
  }

  private func bindEmptyText(_ index: Int32) { sqlite3_bind_text(handle, index, "", 0, Self.transient) }

  private func bindEmptyBlob(_ index: Int32) { sqlite3_bind_zeroblob(handle, index, 0) }

  // MARK: Running

  /// Runs a statement that has no rows.
  func run() throws(DatabaseError) {
    while try step() {}
  }

  func run(_ parameters: Int64...) throws(DatabaseError) {
    for (index, value) in parameters.enumerated() { bind(Int32(index + 1), value) }
    try run()
  }

  /// Goes to the next row; after the last one, or an error, the statement can be run again.
  func step() throws(DatabaseError) -> Bool {
    let code = sqlite3_step(handle)
    if code == SQLITE_ROW { return true }
    guard code == SQLITE_DONE else {
      let error = connection.failure(code)
      sqlite3_reset(handle)
      throw error
    }
    sqlite3_reset(handle)
    return false
  }

  /// Leaves the rows that were not stepped to.
  func reset() { sqlite3_reset(handle) }

  // MARK: Columns of the current row

  var columnCount: Int32 { sqlite3_column_count(handle) }

  func value(_ column: Int32) -> SQLValue {
    switch sqlite3_column_type(handle, column) {
    case SQLITE_INTEGER: .integer(int(column))
    case SQLITE_TEXT: .text(bytes(column))
    case SQLITE_BLOB: .blob(bytes(column))
    case SQLITE_NULL: .null
    default: .other
    }
  }

  func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }

  func int(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

  /// Valid until the next step.
  func bytes(_ column: Int32) -> UnsafeRawBufferPointer {
    // The count is that of the last conversion, so the pointer comes first.
    let base = sqlite3_column_blob(handle, column)
    return UnsafeRawBufferPointer(start: base, count: base == nil ? 0 : Int(sqlite3_column_bytes(handle, column)))
  }

  func text(_ column: Int32) -> String { String(decoding: bytes(column), as: UTF8.self) }
}

/// A value as SQLite stores it; its bytes belong to somebody else.
enum SQLValue {
  case null
  case integer(Int64)
  case text(UnsafeRawBufferPointer)
  case blob(UnsafeRawBufferPointer)
  /// A real number, which a journal has none of.
  case other
}
