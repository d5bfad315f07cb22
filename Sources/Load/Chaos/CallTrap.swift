import CLinuxShims
import Glibc

/// Watches a broker's system calls and strikes at one of them: what could happen to a program at any moment happens at a chosen one, and the
/// program itself knows nothing of it.
///
/// It has to run in a process of its own (`weir-load trap`), for it waits for its victim's threads as a parent waits for children.
package struct CallTrap: Sendable {
  /// What the broker does to its journal and its peers.
  package enum Call: String, CaseIterable, Sendable {
    /// A large tensor goes to its file, before the commit.
    case tensorWrite = "tensor-write"
    case tensorSync = "tensor-sync"
    /// A piece of a commit goes to the log.
    case logWrite = "log-write"
    /// The log is brought to the disk; then the commit stands.
    case logSync = "log-sync"
    /// The log begins anew, after what it held went into the file.
    case logRestart = "log-restart"
    /// A page of a checkpoint goes from the log into the file.
    case databaseWrite = "database-write"
    case databaseSync = "database-sync"
    case markWrite = "mark-write"
    /// Bytes leave for a client or a worker; among them acknowledgements.
    case send = "send"
    /// Any of its files is changed.
    case change = "change"
  }

  package enum Moment: String, CaseIterable, Sendable { case before, after }

  package enum Effect: Hashable, Sendable {
    /// SIGKILL.
    case kill
    /// SIGKILL, and of what was written and not yet brought to the disk some is lost.
    case losePower(seed: UInt64)
    /// Every such call fails with this error, until the trap ends.
    case refuse(errno: Int32)
  }

  package var process: Int32
  package var call: Call
  /// It strikes at this one, counted from 1.
  package var count: Int
  package var moment: Moment
  package var effect: Effect

  package init(_ process: Int32, at call: Call, count: Int = 1, _ moment: Moment = .before, effect: Effect) {
    self.process = process
    self.call = call
    self.count = count
    self.moment = moment
    self.effect = effect
  }

  /// Watches until it has struck.
  ///
  /// - Parameters:
  ///   - seconds: after which it gives up.
  ///   - onWatching: called when nothing escapes it any more.
  /// - Throws: `Broken` if the process can't be traced, or ended before the trap was sprung.
  package func run(seconds: UInt32, onWatching: () -> Void) throws {
    try attach()
    alarm(seconds)
    onWatching()
    var left = count
    var files = UnsyncedFiles()
    var syncing: [Int32: String] = [:]
    var striking: Int32?
    while true {
      let stop = CLinuxShims_trace_wait()
      switch stop.reason {
      case CLINUXSHIMS_NOBODY:
        throw Broken("process \(process) ended before its \(call.rawValue) number \(count); \(count - left) were seen")
      case CLINUXSHIMS_ENDED: continue
      case CLINUXSHIMS_SIGNAL: CLinuxShims_trace_resume(stop.thread, stop.signal)
      case CLINUXSHIMS_CALL:
        let seen = SystemCall(stop, of: process)
        if let seen, matches(seen) {
          left -= 1
          if case .refuse(let error) = effect {
            guard CLinuxShims_trace_refuse(stop.thread, error) == 0 else { throw Broken("a system call of this machine cannot be refused") }
          } else if left == 0 {
            if moment == .before { return strike(files) }
            striking = stop.thread
          }
        }
        if case .losePower = effect, let seen {
          if seen.kind == .sync { syncing[stop.thread] = seen.path } else { files.willChange(seen) }
        }
        CLinuxShims_trace_resume(stop.thread, 0)
      case CLINUXSHIMS_RETURN:
        if let path = syncing.removeValue(forKey: stop.thread) { files.synced(path) }
        if striking == stop.thread { return strike(files) }
        CLinuxShims_trace_resume(stop.thread, 0)
      default: CLinuxShims_trace_resume(stop.thread, 0)
      }
    }
  }

  /// Traces all of its threads; those that start meanwhile are found by looking again.
  private func attach() throws {
    var traced: Set<Int32> = []
    while true {
      let new = Set(threads(of: process)).subtracting(traced)
      if new.isEmpty { break }
      for thread in new {
        traced.insert(thread)
        // One that has just ended, or that its maker's trace took in.
        if CLinuxShims_trace(thread) == 0 || errno == ESRCH || (errno == EPERM && traced.count > 1) { continue }
        throw Broken(
          """
          process \(process) cannot be traced (\(String(cString: strerror(errno)))): run this as root, or set \
          /proc/sys/kernel/yama/ptrace_scope to 0
          """)
      }
    }
    if traced.isEmpty { throw Broken("there is no process \(process)") }
  }

  private func matches(_ seen: SystemCall) -> Bool {
    switch call {
    case .tensorWrite: seen.kind == .write && seen.path.contains("/journal.tensors-")
    case .tensorSync: seen.kind == .sync && seen.path.contains("/journal.tensors-")
    case .logWrite: seen.kind == .write && seen.isLog
    case .logSync: seen.kind == .sync && seen.isLog
    case .logRestart: seen.kind == .write && seen.isLog && seen.offset == 0
    case .databaseWrite: seen.kind == .write && seen.path.hasSuffix("/journal.sqlite")
    case .databaseSync: seen.kind == .sync && seen.path.hasSuffix("/journal.sqlite")
    case .markWrite: seen.kind == .write && seen.path.hasSuffix("/journal.mark")
    case .send: seen.kind == .send
    case .change: seen.kind == .write || seen.kind == .truncate
    }
  }

  /// The thread that wrote stands still, so nothing changes the files under the loss.
  private func strike(_ files: UnsyncedFiles) {
    if case .losePower(let seed) = effect { files.loseSome(seed: seed) }
    kill(process, SIGKILL)
  }
}

private func threads(of process: Int32) -> [Int32] {
  guard let folder = opendir("/proc/\(process)/task") else { return [] }
  defer { closedir(folder) }
  var threads: [Int32] = []
  while let entry = readdir(folder) {
    let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    if let thread = Int32(name) { threads.append(thread) }
  }
  return threads
}

/// A system call on a file of the journal or on a socket.
struct SystemCall {
  enum Kind { case write, truncate, sync, send }

  let kind: Kind
  let path: String
  /// Of a write: where it begins; of a truncation, the new size.
  let offset: Int
  let count: Int

  var isLog: Bool { path.hasSuffix("-wal") }
}

extension SystemCall {
  /// - Returns: `nil` if it is another one.
  init?(_ stop: CLinuxShims_stop, of process: Int32) {
    let arguments = stop.arguments
    switch stop.call {
    case CLinuxShims_pwrite_call: (kind, offset, count) = (.write, Int(arguments.3), Int(arguments.2))
    case CLinuxShims_truncate_call: (kind, offset, count) = (.truncate, Int(arguments.1), 0)
    case CLinuxShims_sync_calls.0, CLinuxShims_sync_calls.1: (kind, offset, count) = (.sync, 0, 0)
    case CLinuxShims_send_calls.0, CLinuxShims_send_calls.1: (kind, offset, count) = (.send, 0, 0)
    default: return nil
    }
    var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let length = readlink("/proc/\(process)/fd/\(arguments.0)", &buffer, buffer.count)
    guard length > 0 else { return nil }
    path = String(decoding: buffer.prefix(length), as: UTF8.self)
    guard kind == .send ? path.hasPrefix("socket:") : path.contains("/journal.") && !path.hasSuffix("-shm") else { return nil }
  }
}
