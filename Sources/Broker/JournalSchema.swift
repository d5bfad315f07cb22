import GRDB

/// The tables of a journal, and how older ones are brought up to date. A migration is never changed once it was released.
enum JournalSchema {
  /// "WEIR", in the file's header.
  static let applicationID: Int32 = 0x5745_4952

  static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1") { db in
      // 64-bit numbers without a sign are kept as their bit patterns.
      try db.execute(
        sql: """
          CREATE TABLE pipeline (
            digest BLOB PRIMARY KEY, name TEXT NOT NULL, labels TEXT NOT NULL, stages TEXT NOT NULL);
          CREATE TABLE job (
            id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, pipeline BLOB NOT NULL, key TEXT NOT NULL, options TEXT NOT NULL,
            stages INTEGER NOT NULL, truncated INTEGER NOT NULL, submitted INTEGER NOT NULL, state INTEGER, finished INTEGER);
          CREATE TABLE sample (
            job INTEGER NOT NULL, number INTEGER NOT NULL, label INTEGER NOT NULL, seed INTEGER NOT NULL,
            attempt INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0, leased INTEGER NOT NULL DEFAULT 0, error TEXT,
            checkpoint_step INTEGER, checkpoint_numerics TEXT, checkpoint_bytes INTEGER,
            PRIMARY KEY (job, number)) WITHOUT ROWID;
          CREATE TABLE outcome (
            job INTEGER NOT NULL, sample INTEGER NOT NULL, stage INTEGER NOT NULL, digest BLOB NOT NULL, numerics TEXT NOT NULL,
            bytes INTEGER NOT NULL, PRIMARY KEY (job, sample, stage)) WITHOUT ROWID;
          -- slot: -1 the stage's output, 0… the tensors of the stage's latest checkpoint.
          CREATE TABLE tensor (
            id INTEGER PRIMARY KEY, job INTEGER NOT NULL, sample INTEGER NOT NULL, stage INTEGER NOT NULL, slot INTEGER NOT NULL,
            name TEXT NOT NULL, dtype INTEGER NOT NULL, shape TEXT NOT NULL, digest BLOB NOT NULL, data BLOB NOT NULL);
          CREATE UNIQUE INDEX tensor_place ON tensor (job, sample, stage, slot);
          """)
    }
    return migrator
  }
}
