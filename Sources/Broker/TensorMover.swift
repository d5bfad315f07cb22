import ZeroMQ

/// Moves what is still in use of a tensor file to the newest one, some at a time.
struct TensorMover {
  /// Samples whose rows are looked at in one go, and bytes that are moved at most, or a little more.
  private static let samples: Int64 = 1 << 14
  private static let bytes = 16 << 20

  private struct Table {
    let idsPerSample: Int64
    let last: SQLStatement
    let rows: SQLStatement
    let update: SQLStatement

    init(_ table: JournalTable, idBits: Int64, _ connection: SQLConnection) throws {
      idsPerSample = 1 << idBits
      last = try SQLStatement(connection, "SELECT max(id) FROM \(table.name)")
      // A number is less than every blob.
      rows = try SQLStatement(
        connection, "SELECT id, data, dtype, shape FROM \(table.name) WHERE id >= ? AND id < ? AND data BETWEEN ? AND ? ORDER BY id")
      update = try SQLStatement(connection, "UPDATE \(table.name) SET data = ? WHERE id = ?")
    }
  }

  private let files: TensorFiles
  private let tables: [Table]
  private var file: Int64?
  private var table = 0
  private var nextID: Int64 = 0

  init(_ connection: SQLConnection, _ files: TensorFiles) throws {
    self.files = files
    tables = try [
      Table(.output, idBits: JobPlace.stageBits, connection), Table(.checkpoint, idBits: JobPlace.slotBits, connection),
    ]
  }

  /// Within a transaction. The file is empty after some calls, unless there was something in it that could not be read.
  mutating func move(from file: Int64) throws {
    if file != self.file { (self.file, table, nextID) = (file, 0, 0) }
    let table = tables[table]
    let end = nextID + Self.samples * table.idsPerSample
    var moved = 0
    for row in try rows(table, before: end, of: file) where moved < Self.bytes {
      nextID = row.id + 1
      guard let count = ShapeText.byteCount(dtype: row.dtype, shape: row.shape),
        let frame = try? files.reader.read(row.place, count: count),
        let place = try frame.withUnsafeBytes({ try files.append($0) })
      else { continue }
      try table.update.run(place.journalValue, row.id)
      files.release(row.place)
      moved += count
    }
    if moved < Self.bytes { nextID = end }
    if nextID > (try lastID(table)) { nextTable() }
  }

  private mutating func nextTable() {
    nextID = 0
    table += 1
    guard table == tables.count, let file else { return }
    // All that could be moved was.
    files.leave(file)
    self.file = nil
  }

  private func rows(
    _ table: Table, before end: Int64, of file: Int64
  ) throws -> [(id: Int64, place: TensorPlace, dtype: Int64, shape: String)] {
    let places = TensorPlace.values(ofFile: file)
    let statement = table.rows
    for (index, value) in [nextID, end, places.lowerBound, places.upperBound].enumerated() { statement.bind(Int32(index + 1), value) }
    var rows: [(id: Int64, place: TensorPlace, dtype: Int64, shape: String)] = []
    while try statement.step() {
      rows.append((statement.int(0), TensorPlace(journalValue: statement.int(1)), statement.int(2), statement.text(3)))
    }
    return rows
  }

  private func lastID(_ table: Table) throws -> Int64 {
    var last: Int64 = -1
    while try table.last.step() { last = table.last.isNull(0) ? -1 : table.last.int(0) }
    return last
  }
}
