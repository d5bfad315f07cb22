import GRDB

@testable import Broker

extension Journal {
  /// Changes the file behind the journal's back.
  func execute(_ sql: String) throws {
    try database.writeWithoutTransaction { try $0.execute(sql: sql) }
  }
}
