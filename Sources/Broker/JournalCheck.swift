import Digests
import Foundation
import GRDB

/// What a journal holds and what of it is damaged. Nothing is changed or mended; a running broker is not disturbed.
package struct JournalCheck: Sendable {
  /// What is damaged or missing, a line each. Empty: every row and every tensor is what was written.
  package private(set) var findings: [String] = []
  /// How many of them a broker starts with and lives with: what a damaged tensor is for is computed again, or said to be lost when it is asked for,
  /// and of a history the rest is told.
  private var lesser = 0
  /// A broker starts on it as it is.
  package var isServable: Bool { findings.count == lesser }
  /// A broker is running on it.
  package private(set) var isInUse = false
  package private(set) var jobs = 0
  package private(set) var tensors = 0
  /// Of the journal's file and the tensor files beside it.
  package private(set) var bytes = 0

  /// Reads all of a data directory's journal.
  ///
  /// - Throws: `.unusable` if there is none or it can't be opened.
  package init(directory: String) throws(JournalError) {
    let files = DataDirectory.Files(directory)
    guard FileManager.default.fileExists(atPath: files.journal) || FileManager.default.fileExists(atPath: files.mark) else {
      throw JournalError(.unusable, "\(directory) has no journal; name the folder that weir-broker was given as --data")
    }
    let lock = files.shareLock()
    defer { if lock >= 0 { close(lock) } }
    isInUse = lock == DataDirectory.Files.isHeld
    // Before anything else: what is read after it goes at least as far.
    let marked = JournalMark.read(files.mark)
    do {
      let stored = JournalFiles(files.journal)
      if stored.pages(.committed).isJournal { try JournalSchema.admit(stored.pages(.committed).migrations, files.journal) }
      // The log of a running broker changes while one looks.
      if !isInUse, let damage = JournalOpening.damage(stored, marked) {
        findings.append(damage)
        if stored.database.isEmpty { return }
      }
      // SQLite makes these to read, and leaves them if it may not write.
      let made = ["-wal", "-shm"].map { files.journal + $0 }.filter { !FileManager.default.fileExists(atPath: $0) }
      defer { if !isInUse { for path in made { try? FileManager.default.removeItem(atPath: path) } } }
      bytes = try FileManager.default.attributesOfItem(atPath: files.journal)[.size] as? Int ?? 0
      bytes += files.tensorFiles.values.reduce(0, +)
      var configuration = JournalOpening.configuration
      configuration.readonly = true
      let database = try DatabaseQueue(path: files.journal, configuration: configuration)
      defer { try? database.close() }
      // One transaction, so that all of it is of one moment.
      try database.read { db in
        guard let connection = SQLConnection(db) else { return }
        // The cut log of a newer one may look so, too.
        if findings.isEmpty, try JournalSchema.isOlder(db) {
          throw JournalError(
            .otherVersion,
            "journal \(files.journal) was written by an older weir-broker; this one brings it up to date when it starts on it")
        }
        if let fault = try JournalSchema.fault(db) { findings.append(fault) }
        try look(files, connection, marked)
      }
    } catch {
      guard let damage = JournalOpening.describeDamage(error) else { throw JournalError(error, path: files.journal) }
      findings.append(damage)
    }
  }

  private mutating func look(_ files: DataDirectory.Files, _ connection: SQLConnection, _ marked: JournalMark.Reading) throws {
    let pages = try SQLStatement(connection, "PRAGMA integrity_check(20)")
    while try pages.step() { if pages.text(0) != "ok" { findings.append(pages.text(0)) } }
    let tensors = TensorReader(files)
    for table in JournalTable.all { try look(table, tensors, connection) }
    guard isServable else { return }
    var reader = JournalReader(files, connection)
    let contents = try reader.read()
    jobs = contents.places.count
    findings += reader.findings + JournalOpening.missing(marked, contents.turn)
  }

  private mutating func look(_ table: JournalTable, _ files: TensorReader, _ connection: SQLConnection) throws {
    // After the tensor's length and its place.
    let data = Int32(JournalTable.firstColumn + table.columns.count) + 1
    let digest = Int32(JournalTable.firstColumn + (table.columns.firstIndex(of: "digest") ?? 0))
    do {
      let rows = try SQLStatement(connection, "SELECT \(table.columnList)\(table.endsWithTensor ? ", data" : "") FROM \(table.name)")
      while try rows.step() {
        if !table.isWhole(rows) {
          findings.append("row \(rows.int(0)) of table \(table.name) is not what was written")
          if [.attempt, .checkpoint].contains(table) { lesser += 1 }
        }
        guard table.endsWithTensor, !rows.isNull(data), !JournalTable.isUnwritten(rows, length: data - 2) else { continue }
        tensors += 1
        let tensor = try StoredTensor(rows, dtype: data - 4, data: data, files)
        if tensor?.fits(rows.bytes(digest)) != true {
          findings.append("the tensor in row \(rows.int(0)) of table \(table.name) does not fit its digest")
          lesser += 1
        }
      }
    } catch {
      guard let damage = JournalOpening.describeDamage(error) else { throw error }
      findings.append("table \(table.name): \(damage)")
    }
  }
}
