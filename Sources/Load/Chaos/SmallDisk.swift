import CLinuxShims
import Glibc

/// A file system of its own, in memory, that can be filled to the last byte and made read-only.
final class SmallDisk: Sendable {
  private let path: String
  private var ballast: String { "\(path)/ballast" }

  /// - Parameters:
  ///   - path: a folder, which it hides.
  ///   - mebibytes: its size.
  init(at path: String, mebibytes: Int) throws {
    self.path = path
    guard CLinuxShims_mount_memory(path, "size=\(mebibytes)m,mode=0700") == 0 else {
      throw Broken(
        """
        this scenario needs a small file system at \(path), and none can be mounted (\(String(cString: strerror(errno)))): run it as root, or \
        under 'unshare --user --map-root-user --mount'
        """)
    }
  }

  /// Leaves no space at all.
  func fill() throws {
    let file = open(ballast, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw Broken("\(ballast) cannot be made: \(String(cString: strerror(errno)))") }
    defer { close(file) }
    // The smallest write that fails says that there is no page left.
    for size in [1 << 20, 4_096, 1] {
      let bytes = [UInt8](repeating: 0, count: size)
      while write(file, bytes, size) == size {}
    }
    guard errno == ENOSPC else { throw Broken("\(ballast) cannot be written: \(String(cString: strerror(errno)))") }
  }

  /// Gives back what `fill` took.
  func free() { unlink(ballast) }

  /// - Returns: false while a file is open for writing, or if it is not allowed.
  func makeReadOnly() -> Bool { CLinuxShims_remount(path, 1) == 0 }

  func makeWritable() throws {
    guard CLinuxShims_remount(path, 0) == 0 else { throw Broken("\(path) stays read-only: \(String(cString: strerror(errno)))") }
  }

  func unmount() { CLinuxShims_unmount(path) }
}
