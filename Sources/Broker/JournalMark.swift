import Foundation
import Glibc

/// A small file beside the journal that says how far the journal goes. SQLite takes a log whose end is damaged or missing for one that ends
/// there; the mark tells.
///
/// It is written after each commit and left to the kernel to bring to the disk: exact after the broker was killed, up to some seconds old
/// after the machine lost its power.
final class JournalMark {
  private static let magic: UInt64 = 0x3145_4b52_414d_5257
  private static let bytes = 24

  private var file: Int32
  /// What was written last.
  private var turn: Int64?

  init(_ path: String) throws(JournalError) {
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw JournalError(.unusable, "\(path) cannot be written: \(String(cString: strerror(errno)))") }
  }

  deinit { close() }

  func close() {
    if file >= 0 { Glibc.close(file) }
    file = -1
  }

  func write(turn: Int64) {
    self.turn = turn
    // If it fails, the old mark only says less.
    _ = put(turn)
  }

  /// Whether its disk takes no writes at all, as it does after an error that made the kernel mount it read-only.
  var isReadOnly: Bool { turn.map { put($0) < 0 && [EROFS, EPERM].contains(errno) } ?? false }

  private func put(_ turn: Int64) -> Int {
    let words = [Self.magic, UInt64(bitPattern: turn), Self.check(turn)]
    return words.withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, 0) }
  }

  enum Reading: Hashable {
    case missing
    case damaged
    /// The number of a commit that was acknowledged.
    case turn(Int64)

    var turn: Int64? { if case .turn(let turn) = self { turn } else { nil } }

    /// Why it can't be told whether a journal that ends with this commit is complete.
    func doubt(_ last: Int64) -> String? {
      switch self {
      case .missing where last > 0: "journal.mark is missing, so nobody can tell whether the last commits are there"
      case .damaged: "journal.mark is damaged, so nobody can tell whether the last commits are there"
      case .missing, .turn: nil
      }
    }
  }

  static func read(_ path: String) -> Reading {
    guard let data = FileManager.default.contents(atPath: path), !data.isEmpty else { return .missing }
    guard data.count == bytes else { return .damaged }
    let words = data.withUnsafeBytes { bytes in (0..<3).map { bytes.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self) } }
    let turn = Int64(bitPattern: words[1])
    return words[0] == magic && words[2] == check(turn) ? .turn(turn) : .damaged
  }

  private static func check(_ turn: Int64) -> UInt64 { UInt64(bitPattern: RowSeal(table: magic, id: turn).value) }
}
