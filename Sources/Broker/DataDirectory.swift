import Foundation
import Glibc

/// A broker's folder, locked for as long as this lives: two brokers never share one.
final class DataDirectory {
  let files: Files
  /// -1 once it is given up.
  private var lock: Int32

  init(_ path: String) throws(JournalError) {
    files = Files(path)
    do {
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw JournalError(.unusable, "data directory \(path) cannot be made (\(error.localizedDescription)); choose another --data")
    }
    lock = open(files.lock, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard lock >= 0 else { throw Self.notWritable(path) }
    guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      var holder = [UInt8](repeating: 0, count: 32)
      let count = read(lock, &holder, holder.count)
      close(lock)
      let process = count > 0 ? " (process \(String(decoding: holder.prefix(count), as: UTF8.self)))" : ""
      throw JournalError(.locked, "data directory \(path) is in use by another broker\(process); stop it or choose another --data")
    }
    let process = Array(String(getpid()).utf8)
    guard ftruncate(lock, 0) == 0, write(lock, process, process.count) == process.count else {
      let failure = Self.notWritable(path)
      close(lock)
      throw failure
    }
  }

  /// After a call that failed.
  private static func notWritable(_ path: String) -> JournalError {
    let code = errno
    let advice =
      switch code {
      case ENOSPC, EDQUOT: "free some space there, or choose another --data"
      case EMFILE, ENFILE: "too many files are open: raise the limit (ulimit -n)"
      default: "let this user write there, or choose another --data"
      }
    return JournalError(.unusable, "data directory \(path) cannot be written (\(String(cString: strerror(code)))); \(advice)")
  }

  deinit { unlock() }

  /// Lets another broker have the folder.
  func unlock() {
    if lock >= 0 { close(lock) }
    lock = -1
  }

  /// The names of what is in a broker's folder.
  struct Files {
    /// What `shareLock` returns if a broker has the folder.
    static let isHeld: Int32 = -2

    let folder: String

    init(_ folder: String) { self.folder = folder }

    var journal: String { folder + "/journal.sqlite" }
    var mark: String { folder + "/journal.mark" }
    var lock: String { folder + "/lock" }

    private static let tensorsName = "journal.tensors-"

    /// A file of large tensors; they are numbered from 1.
    func tensors(_ number: Int64) -> String { "\(folder)/\(Self.tensorsName)\(number)" }

    /// The sizes of all of them that are there, by their numbers.
    var tensorFiles: [Int64: Int] {
      let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
      var sizes: [Int64: Int] = [:]
      for name in names where name.hasPrefix(Self.tensorsName) {
        guard let number = Int64(name.dropFirst(Self.tensorsName.count)), number > 0, tensors(number) == "\(folder)/\(name)" else {
          continue
        }
        sizes[number] = (try? FileManager.default.attributesOfItem(atPath: tensors(number))[.size] as? Int) ?? 0
      }
      return sizes
    }

    /// Keeps brokers away, as long as the descriptor is open, from a folder that none has.
    ///
    /// - Returns: a descriptor, `isHeld`, or -1 if there is nothing to lock.
    func shareLock() -> Int32 {
      let descriptor = open(lock, O_RDONLY | O_CLOEXEC)
      guard descriptor >= 0 else { return -1 }
      if flock(descriptor, LOCK_SH | LOCK_NB) == 0 { return descriptor }
      close(descriptor)
      return Self.isHeld
    }

    /// Brings the journal, and the names in the folder, to the disk.
    func sync() throws(JournalError) {
      for path in tensorFiles.keys.map(tensors) + [journal, mark, folder] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0, fsync(descriptor) == 0 else {
          let reason = String(cString: strerror(errno))
          if descriptor >= 0 { close(descriptor) }
          throw JournalError(.unusable, "\(path) cannot be brought to the disk: \(reason)")
        }
        close(descriptor)
      }
    }

    /// Brings the names in the folder to the disk.
    func syncFolder() {
      let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      guard descriptor >= 0 else { return }
      fsync(descriptor)
      close(descriptor)
    }
  }
}
