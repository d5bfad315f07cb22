import Foundation
import GRDB

/// Why a journal can't be opened, read or written.
package struct JournalError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// The directory can't be made, or files in it can't be opened.
    case unusable
    /// Another broker has it.
    case locked
    /// The file belongs to another program.
    case foreign
    /// Another version of the broker wrote it, whose tables this one does not know.
    case otherVersion
    /// What is on disk is not what was written.
    case damaged
    /// It was written, and is not needed any more.
    case notKept
    /// A write failed for good.
    case writeFailed
    /// Nothing can be written now, because no space is left, the disk is read-only or another program holds the file; nothing was, and it can be
    /// tried again.
    case stalled
  }

  package var code: Code
  /// What was wrong and what to do.
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }

  /// What SQLite said, in words.
  init(_ error: any Error, path: String, writing: Bool = false) {
    if let error = error as? JournalError {
      self = error
      return
    }
    guard let error = error as? DatabaseError else {
      self.init(writing ? .writeFailed : .unusable, "journal \(path): \(error.localizedDescription)")
      return
    }
    let full = "no space is left on its disk; free some: nothing that was acknowledged is lost"
    let detail = error.message ?? "\(error.resultCode)"
    switch error.resultCode {
    case .SQLITE_NOTADB:
      self.init(.foreign, "\(path) is not a Weir journal; choose another data directory, or move the file away")
    case .SQLITE_CORRUPT:
      self.init(.damaged, "journal \(path) is damaged (\(detail)); \(Self.adviceOnDamage)")
    case .SQLITE_FULL:
      self.init(.stalled, "journal \(path): \(full)")
    case .SQLITE_IOERR where !writing && error.extendedResultCode == .SQLITE_IOERR_SHMSIZE:
      self.init(.stalled, "journal \(path): \(full)")
    case .SQLITE_BUSY where writing:
      self.init(.stalled, "journal \(path): another program is writing to it")
    case .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_READONLY, .SQLITE_AUTH:
      self.init(
        .unusable,
        "journal \(path) cannot be opened for writing (\(detail)); check the owner and permissions of it and its folder, or choose another --data"
      )
    case .SQLITE_IOERR:
      self.init(
        writing ? .writeFailed : .unusable,
        "journal \(path): its disk failed or is full (\(detail), \(error.extendedResultCode.rawValue)); free some space, or see the kernel's log"
      )
    default:
      self.init(writing ? .writeFailed : .unusable, "journal \(path): \(detail)")
    }
  }

  static let adviceOnDamage = "move the data directory away and start with an empty one, or restore a copy of it"
}
