import Foundation
import Glibc

/// The journal's large tensors, in files of their own beside it: each is written once, to the end of the newest file, and its row in the journal
/// says where it lies.
///
/// In SQLite each would go to the disk twice, into the log and from there into the file, in pages of 4 KiB. Bytes of a file never change once
/// they are committed. A file goes as a whole when no row points into it; what is still in use of one that is mostly not moves to the end of the
/// newest (`TensorMover`). Rows have digests, so nothing here is believed.
package final class TensorFiles {
  /// Smaller tensors are in the rows.
  static let leastBytes = 16 << 10

  package struct Limits: Sendable {
    /// A tensor that would begin after this goes into a new file.
    package var fileBytes = 64 << 20
    /// So much that nobody uses may lie about. Before files go the log has to be emptied, which takes a moment.
    package var unusedBytes = 256 << 20
    /// Of so many files before the newest the kernel may keep in its cache what was written. Without a bound it takes ever new memory, which can
    /// cost ten times as much as memory that was just freed.
    package var cachedFiles: Int64 = 4

    package init() {}

    fileprivate var unusedPages: Int64 { Int64(unusedBytes / TensorPlace.pageBytes) }
  }

  private let files: DataDirectory.Files
  private let limits: Limits
  let reader: TensorReader
  private var descriptor: Int32 = -1
  /// The file that is written; it is made by the first tensor for it.
  private var current: Int64
  private var end = 0
  /// How far the current file goes that the last commit left.
  private var committed: (file: Int64, end: Int)
  /// Full, and not on the disk yet.
  private var unsynced: [Int32] = []
  private var isNameUnsynced = false
  private var isDirty: Bool { end > committed.end || current > committed.file }
  /// The pages of the files before the current one.
  private var older: [Int64: Int64]
  /// The pages that rows point to, by the file.
  private var used: [Int64: Int64] = [:]
  /// Nothing of them could be moved.
  private var stuck: Set<Int64> = []
  /// There may be something to tidy up.
  private(set) var isUntidy = true
  private var isNew = true

  init(_ files: DataDirectory.Files, _ limits: Limits) {
    self.files = files
    self.limits = limits
    reader = TensorReader(files)
    older = files.tensorFiles.mapValues { Int64($0 / TensorPlace.pageBytes) }
    current = (older.keys.max() ?? 0) + 1
    committed = (current, 0)
  }

  deinit { close() }

  func close() {
    for file in unsynced + [descriptor] where file >= 0 { Glibc.close(file) }
    unsynced = []
    descriptor = -1
    reader.close()
  }

  // MARK: What is in use

  /// No row points to any tensor, as far as is known so far.
  var isUnused: Bool { used.isEmpty }

  /// - Parameter places: of all rows.
  func use(_ places: [TensorPlace]) {
    used = [:]
    for place in places { used[place.file, default: 0] += place.pages }
    // Rows of a damaged journal may point into files that are gone. No new one has the name of such a file.
    if isNew { current = max(current, (used.keys.max() ?? 0) + 1) }
    if isNew { committed = (current, 0) }
    isNew = false
  }

  /// The row that pointed there is about to go, or to point elsewhere.
  func release(_ place: TensorPlace) {
    guard let pages = used[place.file] else { return }
    used[place.file] = pages > place.pages ? pages - place.pages : nil
    if pages <= place.pages { isUntidy = true }
  }

  enum Housekeeping: Hashable {
    /// Nothing is in these files.
    case remove([Int64])
    /// Little is in this one.
    case move(Int64)
  }

  /// What is worth doing about unused space.
  func housekeeping() -> Housekeeping? {
    let unused = older.keys.filter { used[$0] == nil }.sorted()
    if unused.reduce(0, { $0 + (older[$1] ?? 0) }) > limits.unusedPages { return .remove(unused) }
    let waste = older.reduce(0) { $0 + max(0, $1.value - (used[$1.key] ?? $1.value)) }
    let inUse = used.values.reduce(0, +)
    if waste > max(limits.unusedPages, inUse) {
      let share = { (file: Int64) in Double(self.used[file] ?? 0) / Double(max(1, self.older[file] ?? 1)) }
      let least = older.keys.filter { used[$0] != nil && !stuck.contains($0) }.min { share($0) < share($1) }
      if let least { return .move(least) }
    }
    isUntidy = false
    return nil
  }

  /// It can't be done for now.
  func postpone() { isUntidy = false }

  /// What is left in this file can't be moved.
  func leave(_ file: Int64) { stuck.insert(file) }

  func remove(_ files: [Int64]) {
    for file in files where used[file] == nil && older.removeValue(forKey: file) != nil {
      reader.close(file)
      unlink(self.files.tensors(file))
    }
  }

  // MARK: Writing

  /// Writes a tensor. It counts once `sync` and the commit of its row have succeeded; after a commit that failed, `rollBack` takes it back.
  ///
  /// - Returns: `nil` if the program has no descriptor left for a file: it has to go into its row.
  func append(_ bytes: UnsafeRawBufferPointer) throws(JournalError) -> TensorPlace? {
    if end >= limits.fileBytes { beginFile() }
    if descriptor < 0 {
      descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
      if descriptor < 0, errno == EMFILE || errno == ENFILE { return nil }
      guard descriptor >= 0 else { throw failure("made") }
      isNameUnsynced = true
      // It will be read soon, when there may be no descriptor left.
      _ = try? reader.open(current)
    }
    var done = 0
    while done < bytes.count {
      let count = pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(end + done))
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw failure("written") }
      done += count
    }
    let place = TensorPlace(file: current, offset: end, count: bytes.count)
    // Bit by bit, for all of a file at once would keep a commit waiting.
    reader.uncache(current - limits.cachedFiles, from: end, to: place.end)
    end = place.end
    used[current, default: 0] += place.pages
    return place
  }

  private func beginFile() {
    if descriptor >= 0 { unsynced.append(descriptor) }
    descriptor = -1
    reader.uncache(current - limits.cachedFiles, from: end, to: nil)
    older[current] = Int64(end / TensorPlace.pageBytes)
    current += 1
    end = 0
    isUntidy = true
  }

  /// Brings to the disk what was written since the last commit, before the rows that point to it are committed.
  func sync() throws(JournalError) {
    guard isDirty else { return }
    for file in unsynced + [descriptor] where file >= 0 {
      guard fdatasync(file) == 0 else {
        throw JournalError(.writeFailed, "\(path) cannot be brought to the disk: \(String(cString: strerror(errno)))")
      }
    }
    if isNameUnsynced { files.syncFolder() }
    isNameUnsynced = false
    for file in unsynced { Glibc.close(file) }
    unsynced = []
  }

  /// The rows of all that was written are committed.
  func commit() { committed = (current, end) }

  /// They are not, and never will be. What is in use has to be told anew.
  func rollBack() {
    for file in unsynced + [descriptor] where file >= 0 { Glibc.close(file) }
    unsynced = []
    for file in committed.file + 1..<current + 1 { unlink(files.tensors(file)) }
    for file in committed.file..<current + 1 { reader.close(file) }
    older = older.filter { $0.key < committed.file }
    (current, end) = committed
    descriptor = -1
    // What is behind the end is overwritten; until then it would only take space.
    truncate(path, off_t(end))
  }

  // MARK: Errors

  private var path: String { files.tensors(current) }

  /// After a call that failed.
  private func failure(_ what: String) -> JournalError {
    let code = errno
    switch code {
    case ENOSPC, EDQUOT:
      return JournalError(.stalled, "\(path): no space is left on its disk; free some: nothing that was acknowledged is lost")
    case EROFS:
      return JournalError(.stalled, "\(path): its disk is read-only; make it writable: nothing that was acknowledged is lost")
    default:
      return JournalError(.writeFailed, "\(path) cannot be \(what): \(String(cString: strerror(code))); see the kernel's log")
    }
  }
}
