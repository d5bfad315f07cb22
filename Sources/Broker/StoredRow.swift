/// A row as it lies in a leaf page of a table (https://www.sqlite.org/fileformat2.html, section 2).
struct StoredRow {
  let id: Int64
  /// As many as the row was written with; those that did not fit on the page may be cut off.
  let columns: [Column]
  /// The row's bytes, as far as they could be found.
  private let payload: [UInt8]

  enum Column {
    case null
    case integer(Int64)
    case text(Range<Int>)
    case blob(Range<Int>)
    case other
    /// Its bytes are missing.
    case lost
  }

  private static let leafType: UInt8 = 13
  private static let pageHeaderBytes = 8
  private static let maxPayload: UInt64 = 80 << 20

  /// How many rows a page says it has; `nil` if it isn't a leaf of a table.
  static func count(_ page: UnsafeRawBufferPointer) -> Int? { page[0] == leafType ? page.half(3) : nil }

  /// The rows of a page that make sense, in a page that looks like a leaf of a table.
  ///
  /// Where some don't, or the page only might have been one, rows with a seal are looked for at every place: a damaged pointer should not lose
  /// the row it pointed to.
  static func rows(of page: UnsafeRawBufferPointer, in pages: JournalPages) -> [StoredRow] {
    var rows: [StoredRow] = []
    var isWhole = page[0] == leafType
    if isWhole {
      let count = min(page.half(3), (page.count - pageHeaderBytes) / 2)
      for index in 0..<count {
        let start = page.half(pageHeaderBytes + 2 * index)
        guard start >= pageHeaderBytes + 2 * count, start < page.count, let row = StoredRow(page, start, pages) else {
          isWhole = false
          continue
        }
        // GRDB's own rows have one column and no seal.
        if row.columns.count > 1, row.table == nil { isWhole = false }
        rows.append(row)
      }
    } else if [0, 2, 10].contains(page[0]) {
      // Overflow of a row, or an index.
      return []
    }
    if isWhole, !rows.isEmpty { return rows }
    let known = Set(rows.filter { $0.table != nil }.map(\.id))
    for start in pageHeaderBytes..<page.count - 4 {
      if let row = StoredRow(page, start, pages), !known.contains(row.id), row.table != nil { rows.append(row) }
    }
    return rows
  }

  private init?(_ page: UnsafeRawBufferPointer, _ start: Int, _ pages: JournalPages) {
    var offset = start
    guard let size = page.variableLengthNumber(&offset), size >= 4, size <= Self.maxPayload,
      let id = page.variableLengthNumber(&offset),
      // The id's column is NULL in the row itself, and the seal's is a whole number.
      offset + 2 < page.count, page[offset] >= 2, page[offset] < 64, page[offset + 1] == 0 || page[offset] == 2
    else { return nil }
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
    var payload = Array(page[offset..<offset + local])
    if local < total, offset + local + 4 <= page.count {
      payload.reserveCapacity(total)
      var next = page.word(offset + local)
      while payload.count < total, next > 1, next <= pages.count {
        next = pages.withPage(next) { overflow in
          payload += overflow[4..<4 + min(total - payload.count, usable - 4)]
          return overflow.word(0)
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

  private func isWhole(in table: JournalTable) -> Bool {
    guard columns.count > JournalTable.firstColumn, columns.count <= JournalTable.firstColumn + table.columns.count, let stored = int(1)
    else { return false }
    var seal = RowSeal(table: table.tag, id: id)
    for column in table.sealedColumns { withValue(column + JournalTable.firstColumn) { seal.add(column, $0) } }
    return seal.value == stored
  }
}
