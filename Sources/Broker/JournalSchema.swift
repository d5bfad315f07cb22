import GRDB

/// The tables of a journal, and how older ones are brought up to date. A migration is never changed once it was released.
enum JournalSchema {
  /// "WEIR", in the file's header.
  static let applicationID: Int32 = 0x5745_4952

  /// It had other tables.
  private static let unreleased = "1"

  static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("2") { db in
      // 64-bit numbers without a sign are kept as their bit patterns.
      let pipeline = "(id INTEGER PRIMARY KEY, seal INTEGER NOT NULL, digest BLOB, name TEXT, labels TEXT, stages TEXT)"
      try db.execute(
        sql: """
          CREATE TABLE turn (id INTEGER PRIMARY KEY, seal INTEGER NOT NULL, number INTEGER);
          CREATE TABLE pipeline \(pipeline);
          CREATE TABLE job (
            id INTEGER PRIMARY KEY, seal INTEGER NOT NULL, job INTEGER, sequence INTEGER, first INTEGER, stages INTEGER, pipeline BLOB,
            key TEXT, options TEXT, truncated INTEGER, submitted INTEGER, samples BLOB);
          CREATE TABLE ending (id INTEGER PRIMARY KEY, seal INTEGER NOT NULL, state INTEGER, finished INTEGER);
          CREATE TABLE sample (
            id INTEGER PRIMARY KEY, seal INTEGER NOT NULL, turn INTEGER, stage INTEGER, attempt INTEGER, failures INTEGER, leased INTEGER,
            error TEXT, checkpoint_step INTEGER, checkpoint_numerics TEXT, checkpoint_bytes INTEGER);
          CREATE TABLE output (
            id INTEGER PRIMARY KEY, seal INTEGER NOT NULL, digest BLOB, numerics TEXT, bytes INTEGER, name TEXT, dtype INTEGER, shape TEXT,
            data BLOB);
          CREATE TABLE checkpoint (
            id INTEGER PRIMARY KEY, seal INTEGER NOT NULL, stage INTEGER, step INTEGER, digest BLOB, name TEXT, dtype INTEGER, shape TEXT,
            data BLOB);
          CREATE TABLE pipeline_copy \(pipeline);
          """)
    }
    migrator.registerMigration("3") { db in
      try db.execute(
        sql: """
          ALTER TABLE job ADD COLUMN tenant TEXT;
          ALTER TABLE job ADD COLUMN priority INTEGER;
          ALTER TABLE job ADD COLUMN deadline INTEGER;
          ALTER TABLE job ADD COLUMN hold INTEGER;
          CREATE TABLE choice (id INTEGER PRIMARY KEY, seal INTEGER NOT NULL, cancelled BLOB);
          CREATE TABLE attempt (
            id INTEGER PRIMARY KEY, seal INTEGER NOT NULL, stage INTEGER, attempt INTEGER, worker TEXT, numerics TEXT, started INTEGER,
            ended INTEGER, state INTEGER, first_step INTEGER, last_step INTEGER, step_us INTEGER, reason TEXT);
          CREATE TABLE quarantine (id INTEGER PRIMARY KEY, seal INTEGER NOT NULL, name TEXT, boot INTEGER, reason TEXT);
          """)
    }
    // Since then a row's tensor may be a number, which says where it lies in the tensor files.
    migrator.registerMigration("4") { _ in }
    return migrator
  }

  /// Refuses a journal that is another version's.
  ///
  /// - Parameter applied: the migrations it has been through. Anything that is no version's list is damage, which is not for this to say.
  static func admit(_ applied: Set<String>, _ path: String) throws(JournalError) {
    let known = migrator.migrations
    if applied == [unreleased] {
      throw JournalError(
        .otherVersion,
        """
        journal \(path) was written by a weir-broker from before the first release, whose tables (version \(unreleased)) no other knows: finish \
        its jobs with that one, or choose another --data
        """)
    }
    if applied.isStrictSuperset(of: known) {
      let newest = applied.subtracting(known).sorted().joined(separator: ", ")
      throw JournalError(
        .otherVersion,
        """
        journal \(path) was written by a newer weir-broker (its tables are of version \(newest), and this one knows them up to \
        \(known.last ?? "")); use that one, or choose another --data
        """)
    }
  }

  /// Whether it lacks some of the last migrations.
  static func isOlder(_ db: Database) throws -> Bool {
    let applied = try migrator.appliedIdentifiers(db)
    let known = migrator.migrations
    return !applied.isEmpty && applied.count < known.count && applied == Set(known.prefix(applied.count))
  }

  /// What is not as the migrations have made it: a letter of a table's definition that changes on the disk changes the table.
  static func fault(_ db: Database) throws -> String? {
    let stored = try definitions(db)
    let name = try expected.get().first { stored[$0.key] != $0.value }?.key
    return name.map { "the definition of \($0) is not what was written" }
  }

  private static let expected = Result {
    let database = try DatabaseQueue()
    try migrator.migrate(database)
    return try database.read(definitions)
  }

  /// By the kind and name of what they define.
  private static func definitions(_ db: Database) throws -> [String: String] {
    var definitions: [String: String] = [:]
    let rows = try Row.fetchCursor(db, sql: "SELECT type || ' ' || name, tbl_name || ': ' || coalesce(sql, '') FROM sqlite_master")
    while let row = try rows.next() { definitions[row[0]] = row[1] }
    return definitions
  }
}
