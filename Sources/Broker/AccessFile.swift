import Glibc

/// The file of an access list, which is read again whenever it has changed.
///
/// It is looked at on a timer, for there are places where nobody can send a broker a signal, such as a container whose configuration is
/// mounted. Write the new list beside it and rename it over the old one: a list that is half written may look whole.
struct AccessFile {
  private static let maxBytes = 1 << 20

  /// What tells one content of a path from another, without reading it.
  private struct Stamp: Equatable {
    var device: dev_t
    var inode: ino_t
    var size: off_t
    var seconds: Int
    var nanoseconds: Int
  }

  let path: String
  /// Of what was read last, whatever it was; `nil`: nothing was there.
  private var seen: Stamp?

  init(_ path: String) { self.path = path }

  /// - Throws: `BrokerError`, which names the file, the line, and what to do.
  mutating func read() throws(BrokerError) -> AccessList {
    seen = stamp()
    let text = try content()
    do throws(AccessList.Fault) { return try AccessList(parsing: text) } catch { throw problem("\(error)") }
  }

  /// `nil` if it is what was read last.
  mutating func readIfChanged() throws(BrokerError) -> AccessList? {
    stamp() == seen ? nil : try read()
  }

  private func stamp() -> Stamp? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    return Stamp(
      device: status.st_dev, inode: status.st_ino, size: status.st_size, seconds: status.st_mtim.tv_sec,
      nanoseconds: status.st_mtim.tv_nsec)
  }

  private func content() throws(BrokerError) -> [UInt8] {
    // Not blocking: it may be a pipe that nobody writes to.
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else { throw problem("cannot be read: \(String(cString: strerror(errno)))") }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { throw problem("it is no file") }
    guard status.st_mode & 0o002 == 0 else { throw problem("anyone on this machine may write it; chmod o-w it") }
    guard status.st_size <= Self.maxBytes else { throw problem("it has \(status.st_size) bytes; at most \(Self.maxBytes) are read") }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var count = 0
    while count < bytes.count {
      let part = bytes.withUnsafeMutableBytes { Glibc.read(file, $0.baseAddress?.advanced(by: count), $0.count - count) }
      if part < 0, errno == EINTR { continue }
      guard part > 0 else { throw problem(part == 0 ? "it became shorter while it was read" : String(cString: strerror(errno))) }
      count += part
    }
    return bytes
  }

  private func problem(_ reason: String) -> BrokerError { BrokerError(.badAccessList, "\(path), the access list: \(reason)") }
}
