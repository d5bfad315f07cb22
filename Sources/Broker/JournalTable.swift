/// A table of the journal. Every row is (id, seal, …): a number that says what it is about, a check of everything after it, the values.
///
/// Ids take the place of indexes. Jobs are numbered as they come, and their samples are numbered on through all jobs, so that what is
/// written together lies together on the disk.
struct JournalTable: Hashable {
  let name: String
  /// Part of the seal. Never changed, and never used again.
  let tag: UInt64
  /// After `id` and `seal`. A later schema adds columns at the end, and only ones that may be NULL.
  let columns: [String]
  /// The last column is not sealed: a tensor has a digest of its own. It is the tensor, or where it lies in the tensor files, or NULL once nobody
  /// needs it.
  var endsWithTensor = false

  static let pipeline = JournalTable(name: "pipeline", tag: 1, columns: ["digest", "name", "labels", "stages"])
  /// The same once more, on another page: without its pipeline no job can go on.
  static let pipelineCopy = JournalTable(name: "pipeline_copy", tag: 1, columns: pipeline.columns)
  static let job = JournalTable(
    name: "job", tag: 2,
    columns: [
      "job", "sequence", "first", "stages", "pipeline", "key", "options", "truncated", "submitted", "samples", "tenant", "priority",
      "deadline", "hold",
    ])
  /// Under the job's row id, once the job has ended. Without a state: its rows are being deleted.
  static let ending = JournalTable(name: "ending", tag: 3, columns: ["state", "finished"])
  /// Under the sample's number. Of a sample whose stage is not the row's, the row says nothing, unless it has an error.
  static let sample = JournalTable(
    name: "sample", tag: 4,
    columns: ["turn", "stage", "attempt", "failures", "leased", "error", "checkpoint_step", "checkpoint_numerics", "checkpoint_bytes"])
  /// Under the sample's number times 8 plus the stage. A tensor of no bytes was not written: the broker that made the row had it in memory.
  static let output = JournalTable(
    name: "output", tag: 5, columns: ["digest", "numerics", "bytes", "name", "dtype", "shape", "data"], endsWithTensor: true)
  /// Under the sample's number times 16 plus the tensor's.
  static let checkpoint = JournalTable(
    name: "checkpoint", tag: 6, columns: ["stage", "step", "digest", "name", "dtype", "shape", "data"], endsWithTensor: true)
  /// One row, with the number of the last commit.
  static let turn = JournalTable(name: "turn", tag: 7, columns: ["number"])

  /// Under the job's row id, once its samples are not held any more: the samples that were cancelled, a 32-bit number each.
  static let choice = JournalTable(name: "choice", tag: 8, columns: ["cancelled"])
  /// Under the sample's number times 128 plus the stage times 16 plus the attempt's last four bits: the last 16 attempts are there.
  static let attempt = JournalTable(
    name: "attempt", tag: 9,
    columns: [
      "stage", "attempt", "worker", "numerics", "started", "ended", "state", "first_step", "last_step", "step_us", "reason",
    ])
  static let quarantine = JournalTable(name: "quarantine", tag: 10, columns: ["name", "boot", "reason"])

  static let withTensors = all.filter(\.endsWithTensor)

  static let all = [pipeline, pipelineCopy, job, ending, sample, output, checkpoint, turn, choice, attempt, quarantine]

  /// Index of the first column after `id` and `seal`.
  static let firstColumn = 2

  var sealedColumns: Range<Int> { 0..<columns.count - (endsWithTensor ? 1 : 0) }

  /// The whole of a row, but of a tensor only its length, or NULL, and its place, or NULL.
  var columnList: String {
    let tensor = endsWithTensor ? ["iif(typeof(data) = 'blob', length(data), NULL)", "iif(typeof(data) = 'integer', data, NULL)"] : []
    return (["id", "seal"] + columns[sealedColumns] + tensor).joined(separator: ", ")
  }

  /// The places of all tensors of its rows, or of some, that lie in the tensor files.
  func placesQuery(where condition: String = "TRUE") -> String {
    "SELECT data FROM \(name) WHERE \(condition) AND typeof(data) = 'integer'"
  }

  /// Whether the row's tensor was not written, as its length tells, which a statement of `columnList` has in a column.
  static func isUnwritten(_ statement: SQLStatement, length: Int32) -> Bool { !statement.isNull(length) && statement.int(length) == 0 }

  /// Whether the row that a statement of `columnList` stands at is what was written.
  func isWhole(_ statement: SQLStatement) -> Bool {
    var seal = RowSeal(table: tag, id: statement.int(0))
    for column in sealedColumns { seal.add(column, statement.value(Int32(column + Self.firstColumn))) }
    return seal.fits(statement.int(1))
  }
}

/// Writes rows of one table, value by value, sealing them on the way.
final class RowWriter {
  private let statement: SQLStatement
  private let table: JournalTable
  private var seal = RowSeal(table: 0, id: 0)
  private var column = 0
  /// What is bound to the columns of text. Most rows have the texts of the one before, and what is bound stays.
  private var texts: [String?]

  init(_ table: JournalTable, _ connection: SQLConnection) throws {
    self.table = table
    let places = Array(repeating: "?", count: JournalTable.firstColumn + table.columns.count).joined(separator: ", ")
    texts = Array(repeating: nil, count: table.columns.count)
    let columns = (["id", "seal"] + table.columns).joined(separator: ", ")
    statement = try SQLStatement(connection, "INSERT OR REPLACE INTO \(table.name) (\(columns)) VALUES (\(places))")
  }

  func begin(_ id: Int64) {
    statement.bind(1, id)
    seal = RowSeal(table: table.tag, id: id)
    column = 0
  }

  func add(_ value: Int64) {
    statement.bind(next(), value)
    seal.add(column - 1, value)
  }

  func add(_ value: Int64?) { if let value { add(value) } else { addNull() } }

  func add(_ value: UInt32) { add(Int64(value)) }

  func addNull() {
    statement.bindNull(next())
    texts[column - 1] = nil
  }

  func add(_ text: String) {
    let index = next()
    let isBound = texts[column - 1] == text
    var text = text
    text.withUTF8 { bytes in
      if !isBound { statement.bind(index, text: UnsafeRawBufferPointer(bytes)) }
      seal.add(column - 1, text: UnsafeRawBufferPointer(bytes))
    }
    if !isBound { texts[column - 1] = text }
  }

  func add(_ text: String?) { if let text { add(text) } else { addNull() } }

  func add(_ blob: UnsafeRawBufferPointer) {
    statement.bind(next(), blob: blob)
    seal.add(column - 1, blob: blob)
  }

  func add(_ blob: [UInt8]) { blob.withUnsafeBytes { add($0) } }

  func add(_ value: SQLValue) {
    switch value {
    case .null, .other: addNull()
    case .integer(let value): add(value)
    case .blob(let bytes): add(bytes)
    case .text(let bytes):
      statement.bind(next(), text: bytes)
      texts[column - 1] = nil
      seal.add(column - 1, text: bytes)
    }
  }

  func finish() throws {
    precondition(column == table.columns.count, "a row of \(table.name) lacks values")
    statement.bind(2, seal.value)
    try statement.run()
  }

  /// With the tensor as the last value; `nil` writes NULL.
  func finish(tensor: UnsafeRawBufferPointer?) throws {
    let index = next()
    defer { statement.bindNull(index) }
    if let tensor { statement.bind(index, borrowing: tensor) } else { statement.bindNull(index) }
    try finish()
  }

  /// With a tensor that lies in the tensor files.
  func finish(tensorAt place: TensorPlace) throws {
    let index = next()
    defer { statement.bindNull(index) }
    statement.bind(index, place.journalValue)
    try finish()
  }

  private func next() -> Int32 {
    column += 1
    return Int32(JournalTable.firstColumn + column)
  }
}
