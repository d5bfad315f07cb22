import Foundation

/// The pages of a journal as they lie in its two files, read without SQLite: for journals that SQLite can't read any more.
struct JournalPages {
  static let pageSize = 4_096
  static let magic = Array("SQLite format 3\0".utf8)

  private let database: Data
  private let log: Data
  let frames: LogFrames
  /// Where the log has a newer version of a page.
  private var newer: [UInt32: Int] = [:]
  /// Where the versions lie that the damaged newest ones of some pages replaced; 0 is the file.
  private(set) var spares: [(page: UInt32, offset: Int)] = []
  private(set) var count: UInt32

  /// - Parameter withUncommitted: also what the log has after its last commit.
  init(_ journalPath: String, withUncommitted: Bool = false) {
    database = (try? Data(contentsOf: URL(fileURLWithPath: journalPath), options: .alwaysMapped)) ?? Data()
    log = (try? Data(contentsOf: URL(fileURLWithPath: journalPath + "-wal"), options: .alwaysMapped)) ?? Data()
    frames = LogFrames(log, pageSize: Self.pageSize)
    count = UInt32(clamping: (database.count + Self.pageSize - 1) / Self.pageSize)
    var replaced: [UInt32: Int] = [:]
    for frame in withUncommitted ? frames.all[...] : frames.all.prefix(frames.committed) where frame.page > 0 {
      // A page's number that is damaged may be anything.
      guard frame.isWhole || frame.page <= max(count, frames.size) else { continue }
      replaced[frame.page] = frame.isWhole ? nil : newer[frame.page] ?? 0
      newer[frame.page] = frame.offset
      count = max(count, frame.page)
    }
    // A damaged version may have lost one row of many, so it counts if it is a page's last, and so does the one before it.
    spares = replaced.map { ($0.key, $0.value) }.sorted { $0.0 < $1.0 }
  }

  var isEmpty: Bool { database.isEmpty && log.isEmpty }
  /// Whether the file itself is there, and not only its log.
  var hasDatabase: Bool { !database.isEmpty }
  var logBytes: Int { log.count }

  /// Whether the files say that they are a SQLite database, and a journal.
  var isJournal: Bool {
    withPage(1) { $0.starts(with: Self.magic) && $0.word(68) == UInt32(bitPattern: JournalSchema.applicationID) }
  }

  /// Whether the first page says about the file what it always says, of a journal in use.
  var isHeaderWhole: Bool {
    // Page size; versions for writing and reading; reserved bytes; three fractions that never change.
    withPage(1) { isJournal && $0.half(16) == Self.pageSize && $0[18..<24].elementsEqual([2, 2, 0, 64, 32, 32]) }
  }

  /// The newest version of a page, counted from 1; what a file's end cuts off is filled up with zeros.
  func withPage<Result>(_ number: UInt32, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try withVersion(number, newer[number] ?? 0, body)
  }

  /// The version of a page at a place in the log; 0 is the file.
  func withVersion<Result>(_ number: UInt32, _ offset: Int, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    let start = offset > 0 ? offset : (Int(number) - 1) * Self.pageSize
    return try (offset > 0 ? log : database).withUnsafeBytes { bytes in
      if start >= 0, start + Self.pageSize <= bytes.count {
        return try body(UnsafeRawBufferPointer(rebasing: bytes[start..<start + Self.pageSize]))
      }
      var page = [UInt8](repeating: 0, count: Self.pageSize)
      if start >= 0, start < bytes.count { page.replaceSubrange(0..<bytes.count - start, with: bytes[start...]) }
      return try page.withUnsafeBytes(body)
    }
  }

  /// Number of the last commit, if it is where it always is: on one of the first pages.
  var turn: Int64 {
    var turn: Int64 = 0
    for number in 1...max(1, min(count, 64)) {
      for row in withPage(number, { StoredRow.rows(of: $0, in: self) }) where row.table == .turn { turn = max(turn, row.int(2) ?? 0) }
    }
    return turn
  }

  /// Pages that hold nothing, as far as their list makes sense.
  var free: Set<UInt32> {
    var free: Set<UInt32> = []
    var trunk = withPage(1) { $0.word(32) }
    while trunk > 1, trunk <= count, free.insert(trunk).inserted {
      trunk = withPage(trunk) { page in
        for index in 0..<min(Int(page.word(4)), Self.pageSize / 4 - 2) {
          let leaf = page.word(8 + 4 * index)
          if leaf > 1, leaf <= count { free.insert(leaf) }
        }
        return page.word(0)
      }
    }
    return free
  }
}

extension UnsafeRawBufferPointer {
  /// A big-endian number of 32 bits.
  func word(_ offset: Int) -> UInt32 { UInt32(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }

  /// A big-endian number of 16 bits.
  func half(_ offset: Int) -> Int { Int(UInt16(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))) }

  /// SQLite's number of variable length: 7 bits a byte, the first ones first; a ninth byte has 8. Moves the offset past it.
  func variableLengthNumber(_ offset: inout Int) -> UInt64? {
    var value: UInt64 = 0
    for length in 1...9 {
      guard offset < count else { return nil }
      let byte = self[offset]
      offset += 1
      if length == 9 { return value << 8 | UInt64(byte) }
      value = value << 7 | UInt64(byte & 127)
      if byte < 128 { return value }
    }
    return nil
  }
}
