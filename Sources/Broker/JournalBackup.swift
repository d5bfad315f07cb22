import Foundation
import GRDB

/// Copies of journals.
package enum JournalBackup {
  /// Copies a data directory's journal, as it is at one moment, to a new folder, which is a data directory too. A broker may be running on the
  /// source. The folder appears when the copy is complete, checked and on the disk, or not at all.
  ///
  /// - Returns: the check of the copy. It may find what the source has and a broker can live with, damaged tensors say.
  /// - Throws: `.unusable` if the target exists or can't be made, `.damaged` if no broker would start on the copy as it is.
  @discardableResult
  package static func copy(from directory: String, to target: String) throws(JournalError) -> JournalCheck {
    let source = DataDirectory.Files(directory)
    // Beside the target, and not in it.
    let target = target.count > 1 && target.hasSuffix("/") ? String(target.dropLast()) : target
    guard FileManager.default.fileExists(atPath: source.journal) else {
      throw JournalError(.unusable, "\(directory) has no journal; name the folder that weir-broker was given as --data")
    }
    guard !FileManager.default.fileExists(atPath: target) else {
      throw JournalError(.unusable, "\(target) exists; a backup takes a name that is free")
    }
    let partial = DataDirectory.Files(target + ".partial-\(getpid())")
    defer { try? FileManager.default.removeItem(atPath: partial.folder) }
    do {
      try? FileManager.default.removeItem(atPath: partial.folder)
      do {
        try FileManager.default.createDirectory(
          atPath: partial.folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
      } catch {
        throw JournalError(.unusable, "\(target) cannot be made (\(error.localizedDescription)); choose a place that can be written")
      }
      try copy(source, to: partial)
      let check = try JournalCheck(directory: partial.folder)
      guard check.isServable else {
        let first = check.findings.prefix(3).joined(separator: "; ")
        throw JournalError(
          .damaged,
          "\(directory) is damaged (\(first)), so no backup was made; `weir-broker --check \(directory)` tells all, and a broker mends it")
      }
      try partial.sync()
      guard rename(partial.folder, target) == 0 else {
        throw JournalError(.unusable, "\(target) cannot be made: \(String(cString: strerror(errno)))")
      }
      DataDirectory.Files(URL(fileURLWithPath: target).deletingLastPathComponent().path).syncFolder()
      return check
    } catch {
      throw JournalError(error, path: partial.journal)
    }
  }

  private static func copy(_ files: DataDirectory.Files, to target: DataDirectory.Files) throws {
    var configuration = JournalOpening.configuration
    configuration.readonly = true
    let from = try DatabaseQueue(path: files.journal, configuration: configuration)
    defer { try? from.close() }
    let to = try DatabaseQueue(path: target.journal, configuration: JournalOpening.configuration)
    // In one transaction: a writer does not make it begin again, and no broker removes a tensor file while somebody reads its journal.
    try from.read { source in
      try to.writeWithoutTransaction { try source.backup(to: $0) }
      let places = try JournalTable.withTensors.flatMap { try Int64.fetchAll(source, sql: $0.placesQuery()) }
      let there = files.tensorFiles
      for file in Set(places.map { TensorPlace(journalValue: $0).file }) where there[file] != nil {
        try FileManager.default.copyItem(atPath: files.tensors(file), toPath: target.tensors(file))
      }
    }
    let turn = try to.writeWithoutTransaction { db in
      try db.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)")
      return try Int64.fetchOne(db, sql: "SELECT number FROM turn") ?? 0
    }
    try to.close()
    let mark = try JournalMark(target.mark)
    mark.write(turn: turn)
    mark.close()
  }
}
