import Foundation
import GRDB

/// Opens the journal of a directory, checks it, and builds it anew from what is left of it if it is damaged.
enum JournalOpening {
  struct Opened {
    var database: DatabaseQueue
    var connection: SQLConnection
    var contents: JournalReader.Contents
    var mark: JournalMark
    /// What was lost or is odd, a line each.
    var findings: [String]
  }

  /// Larger files are checked only where jobs and their states are: tensors have digests, which are checked when they are read.
  private static let fullCheckBytes = 256 << 20

  static func open(_ files: DataDirectory.Files) throws -> Opened {
    let path = files.journal
    try finishRebuilding(files)
    let marked = JournalMark.read(files.mark)
    var stored = JournalFiles(path)
    let isJournal = stored.pages(.committed).isJournal
    if isJournal { try JournalSchema.admit(stored.pages(.committed).migrations, path) }
    var findings: [String] = []
    var damage = self.damage(stored, marked)
    if damage == nil {
      do {
        var opened = try openWhole(files, isInUse: (marked.turn ?? 0) > 0)
        opened.findings += missing(marked, opened.contents.turn)
        return opened
      } catch {
        guard isJournal || marked != .missing, let what = describeDamage(error) else { throw error }
        damage = what
        // SQLite may have moved the log into the file.
        stored = JournalFiles(path)
      }
    }
    guard let damage else { throw JournalError(.unusable, "journal \(path) cannot be opened") }
    findings.append("the journal was damaged: \(damage)")
    findings += try rebuild(stored, stored.states(marked), files)
    var opened = try openWhole(files, isInUse: true)
    opened.findings = findings + opened.findings + missing(marked, opened.contents.turn)
    return opened
  }

  static func missing(_ marked: JournalMark.Reading, _ last: Int64) -> [String] {
    if let turn = marked.turn, turn > last {
      return [
        "the last \(turn - last) commits are missing or incomplete: what was submitted or finished in them is lost, in whole or in part"
      ]
    }
    return marked.doubt(last).map { [$0] } ?? []
  }

  /// What is wrong that SQLite would not notice, or would take for something else.
  static func damage(_ stored: JournalFiles, _ marked: JournalMark.Reading) -> String? {
    let frames = stored.frames
    if frames.isHeaderDamaged { return "the header of its log is not what was written" }
    let damaged = frames.damaged
    if !damaged.isEmpty {
      let numbers = damaged.prefix(20).map { "\($0.number)" }.joined(separator: ", ")
      return "\(damaged.count) of the \(frames.all.count) frames of its log are not what was written: \(numbers)"
    }
    if stored.isLogCut { return "its log lacks commits that its file has" }
    if stored.breaksOff(marked) { return "its log breaks off in the middle of a commit that was acknowledged" }
    let pages = stored.pages(.committed)
    guard (marked.turn ?? 0) > 0 || !stored.log.isEmpty && pages.isJournal else { return nil }
    if stored.database.isEmpty { return stored.isEmpty ? "its files are gone" : "its file is gone, and only its log is there" }
    return pages.isHeaderWhole ? nil : "the header of its file is not what was written"
  }

  /// What an error says about the journal; `nil` if it says something about the machine instead.
  static func describeDamage(_ error: any Error) -> String? {
    if let error = error as? JournalError { return [.damaged, .foreign].contains(error.code) ? error.message : nil }
    guard let error = error as? DatabaseError else { return nil }
    switch error.resultCode {
    case .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_NOMEM, .SQLITE_READONLY, .SQLITE_FULL, .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_AUTH,
      .SQLITE_INTERRUPT:
      return nil
    case .SQLITE_IOERR where error.extendedResultCode != .SQLITE_IOERR_SHORT_READ && error.extendedResultCode != .SQLITE_IOERR_CORRUPTFS:
      return nil
    default: return error.message ?? "\(error.resultCode)"
    }
  }

  // MARK: Opening

  /// - Parameter isInUse: it has been written to, so its tables are there.
  private static func openWhole(_ files: DataDirectory.Files, isInUse: Bool) throws -> Opened {
    let path = files.journal
    let database = try DatabaseQueue(path: path, configuration: configuration)
    do {
      // Before anything is written.
      if isInUse, let connection = try database.read({ SQLConnection($0) }) { try check(connection, path) }
      let connection = try prepare(database, path)
      var reader = JournalReader(files, connection)
      let contents = try reader.read()
      return Opened(
        database: database, connection: connection, contents: contents, mark: try JournalMark(files.mark),
        findings: reader.findings)
    } catch {
      try? database.close()
      throw error
    }
  }

  /// Looks whether the trees in the file make sense. A row's values are checked when it is read.
  private static func check(_ connection: SQLConnection, _ path: String) throws {
    let size = (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? 0
    let tables = JournalTable.all.filter { !$0.endsWithTensor }.map { "quick_check(\($0.name))" }
    for check in size <= fullCheckBytes ? ["quick_check(10)"] : tables {
      let statement = try SQLStatement(connection, "PRAGMA \(check)")
      var faults: [String] = []
      while try statement.step() { faults.append(statement.text(0)) }
      guard faults == ["ok"] else {
        throw JournalError(.damaged, faults.joined(separator: "; ").split(separator: "\n").joined(separator: "; "))
      }
    }
  }

  static var configuration: Configuration {
    var configuration = Configuration()
    configuration.foreignKeysEnabled = false
    configuration.busyMode = .timeout(5)
    configuration.label = "journal"
    return configuration
  }

  /// Makes a new file a journal, and brings an old one up to date.
  static func prepare(_ database: DatabaseQueue, _ file: String) throws -> SQLConnection {
    try claim(database, file)
    let migrator = JournalSchema.migrator
    if try database.read(migrator.hasBeenSuperseded) {
      throw JournalError(.damaged, "journal \(file): the list of its schema's versions is not what was written")
    }
    try migrator.migrate(database)
    if let fault = try database.read(JournalSchema.fault) { throw JournalError(.damaged, "journal \(file): \(fault)") }
    return try database.writeWithoutTransaction { db in
      // An acknowledgement leaves only after its record is on disk, so every commit waits for the disk. What is deleted is overwritten, as far as
      // that costs nothing, so that no salvage finds it.
      try db.execute(
        sql: """
          PRAGMA synchronous = FULL;
          PRAGMA wal_autocheckpoint = 4000;
          PRAGMA journal_size_limit = 67108864;
          PRAGMA cache_size = -16000;
          PRAGMA secure_delete = FAST;
          PRAGMA temp_store = MEMORY;
          """)
      guard try Int.fetchOne(db, sql: "PRAGMA synchronous") == 2, let connection = SQLConnection(db) else {
        throw JournalError(.unusable, "journal \(file): SQLite does not accept synchronous = FULL")
      }
      return connection
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
      // Before the first table, or the first two would have no effect.
      try db.execute(
        sql: """
          PRAGMA page_size = \(JournalPages.pageSize);
          PRAGMA auto_vacuum = INCREMENTAL;
          PRAGMA journal_mode = WAL;
          PRAGMA application_id = \(JournalSchema.applicationID);
          """)
    }
  }

  // MARK: Building anew

  /// Puts a new journal in the place of a damaged one, and that aside.
  ///
  /// The new one is complete under a name of its own before the old one goes; a crash in between is made good by `finishRebuilding`.
  private static func rebuild(_ stored: JournalFiles, _ states: [JournalFiles.State], _ files: DataDirectory.Files) throws -> [String] {
    let path = files.journal
    var findings = try JournalSalvage.rebuild(stored, states, files, at: path + ".building")
    let aside = files.folder + "/damaged-\(timestamp())"
    try FileManager.default.createDirectory(atPath: aside, withIntermediateDirectories: true)
    for suffix in ["", "-wal"] where FileManager.default.fileExists(atPath: path + suffix) {
      try FileManager.default.linkItem(atPath: path + suffix, toPath: aside + "/journal.sqlite" + suffix)
    }
    let kept = DataDirectory.Files(aside)
    for number in files.tensorFiles.keys { try FileManager.default.linkItem(atPath: files.tensors(number), toPath: kept.tensors(number)) }
    findings.append("the damaged files are kept in \(aside)")
    try replaceItem(path + ".building", path + ".rebuilt")
    try finishRebuilding(files)
    return findings
  }

  private static func finishRebuilding(_ files: DataDirectory.Files) throws {
    let path = files.journal
    guard FileManager.default.fileExists(atPath: path + ".rebuilt") else { return }
    // The old log does not belong to the new file.
    for suffix in ["-wal", "-shm"] where FileManager.default.fileExists(atPath: path + suffix) {
      try FileManager.default.removeItem(atPath: path + suffix)
    }
    files.syncFolder()
    try replaceItem(path + ".rebuilt", path)
    files.syncFolder()
  }

  private static func replaceItem(_ from: String, _ to: String) throws {
    guard rename(from, to) == 0 else {
      throw JournalError(.unusable, "\(from) cannot be renamed to \(to): \(String(cString: strerror(errno)))")
    }
  }

  /// Of now, in UTC, for a folder's name: 20260131T235959.123Z.
  private static func timestamp() -> String {
    Date.now.ISO8601Format(.iso8601(timeZone: .gmt, includingFractionalSeconds: true, dateSeparator: .omitted, timeSeparator: .omitted))
  }
}
