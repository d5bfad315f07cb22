import Glibc

/// A new file beside its destination that takes the destination's place only when it is complete and on disk.
package struct AtomicFile: ~Copyable {
  private let descriptor: Int32
  private let temporary: String
  private let destination: String
  private var isCommitted = false

  package init(replacing destination: String) throws(FileFailure) {
    self.destination = destination
    let slash = destination.lastIndex(of: "/")
    let folder = slash.map { String(destination[...$0]) } ?? ""
    let name = slash.map { String(destination[destination.index(after: $0)...]) } ?? destination
    temporary = "\(folder).\(name).\(getpid()).\(UInt32.random(in: 0...UInt32.max)).tmp"
    descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw FileFailure("create") }
  }

  func write(_ bytes: UnsafeRawBufferPointer) throws(FileFailure) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
      if written < 0, errno == EINTR { continue }
      guard written > 0 else { throw FileFailure("write") }
      rest = rest.dropFirst(written)
    }
  }

  package func write(_ bytes: [UInt8]) throws(FileFailure) {
    var failure: FileFailure?
    bytes.withUnsafeBytes {
      do throws(FileFailure) { try write($0) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Data to disk, then the rename, then the folder to disk.
  package mutating func commit() throws(FileFailure) {
    guard fsync(descriptor) == 0 else { throw FileFailure("sync") }
    try Self.move(temporary, to: destination)
    isCommitted = true
  }

  /// Renames over `destination` and forces the folder's entry to disk.
  package static func move(_ source: String, to destination: String) throws(FileFailure) {
    guard rename(source, destination) == 0 else { throw FileFailure("rename") }
    let folder = destination.lastIndex(of: "/").map { String(destination[...$0]) } ?? "."
    let directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw FileFailure("open folder") }
    defer { close(directory) }
    guard fsync(directory) == 0 else { throw FileFailure("sync folder") }
  }

  deinit {
    close(descriptor)
    if !isCommitted { unlink(temporary) }
  }
}
