import Glibc

/// A regular file mapped read-only. It must not be cut short while it is mapped: files here are replaced by rename, never rewritten.
final class MappedFile: Sendable {
  private let address: UInt
  let count: Int

  /// Throws errno and what failed.
  init(_ path: String) throws(FileFailure) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw FileFailure("open") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw FileFailure("stat") }
    guard status.st_mode & S_IFMT == S_IFREG else { throw FileFailure("open", reason: "it is no regular file") }
    count = Int(status.st_size)
    guard count > 0 else {
      address = 0
      return
    }
    guard let mapped = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), mapped != MAP_FAILED else {
      throw FileFailure("map")
    }
    address = UInt(bitPattern: mapped)
  }

  deinit {
    if count > 0 { munmap(UnsafeMutableRawPointer(bitPattern: address), count) }
  }

  func withUnsafeBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: count))
  }
}
