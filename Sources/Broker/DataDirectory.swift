import Foundation
import Glibc

/// A broker's folder, locked for as long as this lives: two brokers never share one.
final class DataDirectory {
  let path: String
  /// -1 once it is given up.
  private var lock: Int32

  var journalPath: String { path + "/journal.sqlite" }
  var markPath: String { path + "/journal.mark" }

  init(_ path: String) throws(JournalError) {
    self.path = path
    do {
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw JournalError(.unusable, "data directory \(path) cannot be made: \(error.localizedDescription)")
    }
    lock = open(path + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard lock >= 0 else {
      throw JournalError(.unusable, "data directory \(path) cannot be written: \(String(cString: strerror(errno)))")
    }
    guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      var holder = [UInt8](repeating: 0, count: 32)
      let count = read(lock, &holder, holder.count)
      close(lock)
      let process = count > 0 ? " (process \(String(decoding: holder.prefix(count), as: UTF8.self)))" : ""
      throw JournalError(.locked, "data directory \(path) is in use by another broker\(process); stop it or choose another --data")
    }
    let process = Array(String(getpid()).utf8)
    guard ftruncate(lock, 0) == 0, write(lock, process, process.count) == process.count else {
      let reason = String(cString: strerror(errno))
      close(lock)
      throw JournalError(.unusable, "data directory \(path) cannot be written: \(reason)")
    }
  }

  /// Brings the names in the folder to the disk.
  func sync() {
    let folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { return }
    fsync(folder)
    close(folder)
  }

  deinit { unlock() }

  /// Lets another broker have the folder.
  func unlock() {
    if lock >= 0 { close(lock) }
    lock = -1
  }
}
