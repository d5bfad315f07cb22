import Foundation
import Glibc
import ZeroMQ

/// Reads tensor files. It keeps some open, so that a broker without descriptors left goes on reading those.
final class TensorReader {
  private static let maxOpen = 32

  private let files: DataDirectory.Files
  private var descriptors: [Int64: Int32] = [:]

  init(_ files: DataDirectory.Files) { self.files = files }

  deinit { close() }

  func close() {
    for descriptor in descriptors.values { Glibc.close(descriptor) }
    descriptors = [:]
  }

  /// - Returns: `nil` if the files do not have so many bytes there.
  func read(_ place: TensorPlace, count: Int) throws(JournalError) -> Frame? {
    guard count > 0, (count + TensorPlace.pageBytes - 1) / TensorPlace.pageBytes == place.pages, let file = try open(place.file) else {
      return nil
    }
    var done = 0
    let frame = Frame(count: count) { memory in
      while done < count {
        let length = pread(file, memory.baseAddress! + done, count - done, off_t(place.offset + done))
        if length < 0, errno == EINTR { continue }
        guard length > 0 else { break }
        done += length
      }
      // All of a frame has to be written.
      memset(memory.baseAddress! + done, 0, count - done)
    }
    return done == count ? frame : nil
  }

  /// - Returns: `nil` if there is no such file.
  @discardableResult
  func open(_ file: Int64) throws(JournalError) -> Int32? {
    if let descriptor = descriptors[file] { return descriptor }
    if descriptors.count >= Self.maxOpen { closeOldest() }
    var descriptor = Glibc.open(files.tensors(file), O_RDONLY | O_CLOEXEC)
    if descriptor < 0, errno == EMFILE || errno == ENFILE, !descriptors.isEmpty {
      closeOldest()
      descriptor = Glibc.open(files.tensors(file), O_RDONLY | O_CLOEXEC)
    }
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw JournalError(.unusable, "\(files.tensors(file)) cannot be read: \(String(cString: strerror(errno)))")
    }
    descriptors[file] = descriptor
    return descriptor
  }

  /// Has the kernel's cache let go of a part of a file, if there is one.
  ///
  /// - Parameter end: `nil`: all that follows.
  func uncache(_ file: Int64, from start: Int, to end: Int?) {
    // At worst it stays in the cache.
    guard let descriptor = try? open(file) else { return }
    posix_fadvise(descriptor, off_t(start), off_t(end.map { $0 - start } ?? 0), POSIX_FADV_DONTNEED)
  }

  /// It is about to be removed.
  func close(_ file: Int64) {
    if let descriptor = descriptors.removeValue(forKey: file) { Glibc.close(descriptor) }
  }

  private func closeOldest() {
    if let oldest = descriptors.keys.min() { close(oldest) }
  }
}
