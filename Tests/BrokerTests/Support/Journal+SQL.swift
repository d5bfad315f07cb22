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
