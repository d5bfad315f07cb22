/// A row as it lies in a leaf page of a table (https://www.sqlite.org/fileformat2.html, section 2).
struct StoredRow {
  let id: Int64
  /// As many as the row was written with; those that did not fit on the page may be cut off.
  let columns: [Column]
  /// The row's bytes, as far as they could be found.
  private let payload: [UInt8]
  /// Of its page, with its length and id.
  private let bytesOnPage: Int
  /// The pages of what did not fit there.
  private(set) var overflow: [UInt32] = []

  enum Column {
    case null
    case integer(Int64)
    case text(Range<Int>)
    case blob(Range<Int>)
    case other
    /// Its bytes are missing.
    case lost
  }

  static let leafType: UInt8 = 13
  private static let pageHeaderBytes = 8
  private static let maxPayload: UInt64 = 80 << 20

  /// The rows of a page that make sense, in a page that looks like a leaf of a table.
  ///
  /// Where some don't, or don't fill the page, or the page only might have been one, rows with a seal are looked for at every place: a damaged
  /// pointer, or a damaged number of rows, should not lose any.
  ///
  /// - Returns: the rows, and whether it had others too, of which nothing is left, not even their ids.
  static func rows(of page: UnsafeRawBufferPointer, in pages: JournalPages) -> (rows: [StoredRow], areSomeLost: Bool) {
    var rows: [StoredRow] = []
    let cells = page.half(3)
    var isWhole = page[0] == leafType
    if isWhole {
      for index in 0..<min(cells, (page.count - pageHeaderBytes) / 2) {
        let start = page.half(pageHeaderBytes + 2 * index)
        guard start >= pageHeaderBytes + 2 * cells, start < page.count, let row = StoredRow(page, start, pages) else {
          isWhole = false
          continue
        }
        // GRDB's own rows have one column and no seal.
        if row.columns.count > 1, row.table == nil { isWhole = false }
        rows.append(row)
      }
    } else if [0, 2, 10].contains(page[0]) {
      // Overflow of a row, or an index; or it was overwritten.
      return ([], page[0] == 0)
    }
    if isWhole, fill(page, rows) { return (rows, false) }
    let known = Set(rows.filter { $0.table != nil }.map(\.id))
    for start in pageHeaderBytes..<page.count - 4 where mayBegin(page, start) {
      if let row = StoredRow(page, start, pages), !known.contains(row.id), row.table != nil { rows.append(row) }
    }
    // The inside of a tree has none.
    if page[0] == 5, rows.isEmpty { return ([], false) }
    return (rows, (rows.count < cells || cells == 0) && !fill(page, rows))
  }

  /// Whether rows are all that a page has: it also tells how much of it is not used.
  private static func fill(_ page: UnsafeRawBufferPointer, _ rows: [StoredRow]) -> Bool {
    let contentStart = page.half(5)
    var used = rows.reduce(Int(page[7])) { $0 + $1.bytesOnPage }
    var block = page.half(1)
    while block >= contentStart, block > 0, block + 4 <= page.count {
      used += page.half(block + 2)
      let next = page.half(block)
      // They lie in order.
      guard next > block else { break }
      block = next
    }
    return used == page.count - contentStart
  }

  /// Whether a place in a page looks like the beginning of a row: its length, its id, and the length of its list of types.
  private static func mayBegin(_ page: UnsafeRawBufferPointer, _ start: Int) -> Bool {
    var offset = start
    guard let size = page.variableLengthNumber(&offset), size >= 3, size <= maxPayload, page.variableLengthNumber(&offset) != nil,
      offset + 2 < page.count
    else { return false }
    // The id's column is NULL in the row itself.
    return page[offset] >= 2 && page[offset] < 64 && (page[offset + 1] == 0 || page[offset] == 2)
  }

  private init?(_ page: UnsafeRawBufferPointer, _ start: Int, _ pages: JournalPages) {
    var offset = start
    guard Self.mayBegin(page, start), let size = page.variableLengthNumber(&offset), let id = page.variableLengthNumber(&offset) else {
      return nil
    }
    self.id = Int64(bitPattern: id)
    let total = Int(size)
    let usable = JournalPages.pageSize
    // What fits stays on the page; of the rest, whole pages' worth goes elsewhere.
    var local = total
    if total > usable - 35 {
      let least = (usable - 12) * 32 / 255 - 23
      local = least + (total - least) % (usable - 4)
      if local > usable - 35 { local = least }
    }
    guard offset + local <= page.count else { return nil }
    // What is freed has to hold a number and a pointer.
    bytesOnPage = max(4, offset - start + local + (local < total ? 4 : 0))
    var payload = Array(page[offset..<offset + local])
    if local < total, offset + local + 4 <= page.count {
      payload.reserveCapacity(total)
      var next = page.word(offset + local)
      while payload.count < total, next > 1, next <= pages.count {
        overflow.append(next)
        next = pages.withPage(next) { page in
          payload += page[4..<4 + min(total - payload.count, usable - 4)]
          return page.word(0)
        }
      }
    }
    self.payload = payload
    guard let columns = payload.withUnsafeBytes({ Self.columns($0) }) else { return nil }
    self.columns = columns
  }

  private static func columns(_ payload: UnsafeRawBufferPointer) -> [Column]? {
    var offset = 0
    guard let header = payload.variableLengthNumber(&offset), header <= payload.count, header > 0 else { return nil }
    var columns: [Column] = []
    var start = Int(header)
    while offset < header {
      guard let type = payload.variableLengthNumber(&offset), type <= 2 * maxPayload else { return nil }
      let size =
        switch type {
        case 0, 8...11: 0
        case 1...4: Int(type)
        case 5: 6
        case 6, 7: 8
        default: Int(type - 12) / 2
        }
      let range = start..<start + size
      start += size
      guard range.upperBound <= payload.count else {
        columns.append(.lost)
        continue
      }
      switch type {
      case 0: columns.append(.null)
      case 8, 9: columns.append(.integer(Int64(type) - 8))
      case 7, 10, 11: columns.append(.other)
      case 1...6:
        let sign: Int64 = payload[range.lowerBound] >= 128 ? -1 : 0
        columns.append(.integer(payload[range].reduce(sign) { $0 << 8 | Int64($1) }))
      default: columns.append(type % 2 == 0 ? .blob(range) : .text(range))
      }
    }
    return columns
  }

  func withValue<Result>(_ column: Int, _ body: (SQLValue) throws -> Result) rethrows -> Result {
    guard column < columns.count else { return try body(.null) }
    return try payload.withUnsafeBytes { bytes in
      switch columns[column] {
      case .null: try body(.null)
      case .integer(let value): try body(.integer(value))
      case .text(let range): try body(.text(UnsafeRawBufferPointer(rebasing: bytes[range])))
      case .blob(let range): try body(.blob(UnsafeRawBufferPointer(rebasing: bytes[range])))
      case .other, .lost: try body(.other)
      }
    }
  }

  func int(_ column: Int) -> Int64? {
    if column < columns.count, case .integer(let value) = columns[column] { value } else { nil }
  }

  /// The table whose seal the row has.
  var table: JournalTable? {
    JournalTable.all.first { isWhole(in: $0) }
  }

  /// The table that a row without a seal seems to be of; the number of its columns tells.
  var likelyTable: JournalTable? {
    switch columns.count {
    case 3: int(2) == nil ? .choice : .turn
    case 4: .ending
    case 5: .quarantine
    case 6: .pipeline
    case 9: int(2) == nil ? .output : .checkpoint
    case 11: .sample
    // The first version had twelve.
    case 12, 16: .job
    case 13: .attempt
    default: nil
    }
  }

  private func isWhole(in table: JournalTable) -> Bool {
    guard columns.count > JournalTable.firstColumn, columns.count <= JournalTable.firstColumn + table.columns.count, let stored = int(1)
    else { return false }
    var seal = RowSeal(table: table.tag, id: id)
    for column in table.sealedColumns { withValue(column + JournalTable.firstColumn) { seal.add(column, $0) } }
    return seal.fits(stored)
  }
}
