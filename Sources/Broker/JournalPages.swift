import Foundation

/// The pages of a journal in one of the states that its files hold.
struct JournalPages {
  static let pageSize = 4_096
  static let magic = Array("SQLite format 3\0".utf8)
  /// Tables begin on one of so many first pages, and those that have a few rows end there.
  private static let firstPages: UInt32 = 64

  private let files: JournalFiles
  /// Where the log has a newer version of a page.
  private var newer: [UInt32: Int] = [:]
  /// Pages whose version is not what was written.
  private(set) var damaged: Set<UInt32> = []
  /// There are versions of which nobody knows the page.
  private(set) var hasHomelessVersions = false
  private(set) var count: UInt32

  init(_ files: JournalFiles, _ state: JournalFiles.State) {
    self.files = files
    let all = files.frames.all
    let frames =
      switch state {
      case .file: all.prefix(0)
      case .found: all.prefix(files.frames.found)
      case .committed: all.prefix(files.frames.committed)
      case .begun: all[...]
      }
    let stored = UInt32(clamping: (files.database.count + Self.pageSize - 1) / Self.pageSize)
    // What lies behind the end that a commit gave the file is left over.
    count = frames.last { $0.isWhole && $0.commitSize > 0 }?.commitSize ?? stored
    let most = max(count, stored, 1)
    for (index, frame) in frames.enumerated() {
      // A page's number that is damaged may be anything.
      guard frame.isWhole || (1...most).contains(frame.page) else {
        hasHomelessVersions = true
        continue
      }
      newer[frame.page] = frame.offset
      if frame.isWhole { damaged.remove(frame.page) } else { damaged.insert(frame.page) }
      if index >= files.frames.committed { count = max(count, frame.page) }
    }
  }

  /// Whether the files say that they are a SQLite database, and a journal.
  var isJournal: Bool {
    withPage(1) { $0.starts(with: Self.magic) && $0.word(68) == UInt32(bitPattern: JournalSchema.applicationID) }
  }

  /// Whether the first page says about the file what it always says, of a journal in use.
  var isHeaderWhole: Bool {
    // Page size; versions for writing and reading; reserved bytes; three fractions that never change.
    withPage(1) { isJournal && $0.half(16) == Self.pageSize && $0[18..<24].elementsEqual([2, 2, 0, 64, 32, 32]) }
  }

  /// Where a page's version lies in the log; 0: in the file.
  func version(_ number: UInt32) -> Int { newer[number] ?? 0 }

  /// A page, counted from 1; what a file's end cuts off is filled up with zeros.
  func withPage<Result>(_ number: UInt32, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    let offset = version(number)
    let start = offset > 0 ? offset : (Int(number) - 1) * Self.pageSize
    return try (offset > 0 ? files.log : files.database).withUnsafeBytes { bytes in
      if start >= 0, start + Self.pageSize <= bytes.count {
        return try body(UnsafeRawBufferPointer(rebasing: bytes[start..<start + Self.pageSize]))
      }
      var page = [UInt8](repeating: 0, count: Self.pageSize)
      if start >= 0, start < bytes.count { page.replaceSubrange(0..<bytes.count - start, with: bytes[start...]) }
      return try page.withUnsafeBytes(body)
    }
  }

  /// The rows of a page that make sense.
  func rows(_ number: UInt32) -> [StoredRow] { withPage(number) { StoredRow.rows(of: $0, in: self).rows } }

  /// Whether a page is not what was written, and had rows of which nothing is left.
  func hasLostRows(_ number: UInt32) -> Bool {
    // Every so many pages there is one that says what the next ones are for.
    guard damaged.contains(number), (Int(number) - 2) % (Self.pageSize / 5 + 1) != 0 else { return false }
    return withPage(number) { StoredRow.rows(of: $0, in: self).areSomeLost }
  }

  /// Number of the last commit, if it is where it always is: on one of the first pages.
  var turn: Int64 {
    var turn: Int64 = 0
    for number in 1...max(1, min(count, Self.firstPages)) {
      for row in rows(number) where row.table == .turn { turn = max(turn, row.int(2) ?? 0) }
    }
    return turn
  }

  /// The migrations it has been through, as far as their list is there. Theirs are the only rows of one value.
  var migrations: Set<String> {
    var migrations: Set<String> = []
    for number in 1...max(1, min(count, Self.firstPages)) {
      for row in rows(number) where row.columns.count == 1 {
        row.withValue(0) { if case .text(let bytes) = $0 { migrations.insert(String(decoding: bytes, as: UTF8.self)) } }
      }
    }
    return migrations
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
