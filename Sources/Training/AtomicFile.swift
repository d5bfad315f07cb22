import Foundation

/// Files that are either the old or the new one, whenever the power goes.
package enum AtomicFile {
  /// Writes `bytes` beside `path`, forces them to disk, then renames.
  package static func write(_ bytes: [UInt8], to path: String) throws(TrainingError) {
    let temporary = "\(path).tmp"
    let file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard file >= 0 else { throw failure("cannot be created", temporary) }
    let ok = bytes.withUnsafeBytes { buffer in
      var offset = 0
      while offset < buffer.count {
        let n = Glibc.write(file, buffer.baseAddress?.advanced(by: offset), buffer.count - offset)
        if n < 0 && errno == EINTR { continue }
        if n <= 0 { return false }
        offset += n
      }
      return fsync(file) == 0
    }
    let problem = ok ? nil : failure("cannot be written", temporary)
    close(file)
    if let problem {
      unlink(temporary)
      throw problem
    }
    try move(temporary, to: path)
  }

  /// Renames over `path` and forces the folder's entry to disk.
  package static func move(_ source: String, to path: String) throws(TrainingError) {
    guard rename(source, path) == 0 else { throw failure("cannot be put in place", path) }
    let slash = path.lastIndex(of: "/")
    let folder = slash.map { String(path[..<$0]) } ?? "."
    let directory = open(folder.isEmpty ? "/" : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if directory >= 0 {
      fsync(directory)
      close(directory)
    }
  }

  /// Makes `copy` another name of `path`'s present bytes, replacing what `copy` was.
  package static func keep(_ path: String, as copy: String) throws(TrainingError) {
    let temporary = "\(copy).tmp"
    unlink(temporary)
    guard link(path, temporary) == 0 else { throw failure("cannot be linked", path) }
    try move(temporary, to: copy)
  }

  private static func failure(_ what: String, _ path: String) -> TrainingError {
    TrainingError(.file, "\(path): \(what): \(String(cString: strerror(errno)))")
  }
}
