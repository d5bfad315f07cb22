import GRDB

/// The tables of a journal, and how older ones are brought up to date. A migration is never changed once it was released.
enum JournalSchema {
  /// "WEIR", in the file's header.
  static let applicationID: Int32 = 0x5745_4952

  static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    // "1" had other tables; it was never released.
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
    return migrator
  }
}
