import CLinuxShims
import Foundation
import Glibc

/// A network of this program's own: nothing in it is seen from outside, and nothing of it stays.
package enum OwnNetwork {
  private static let mark = "WEIR_OWN_NETWORK"
  private static let unshare = "/usr/bin/unshare"

  /// Has this program begin anew in a network namespace of its own, as the same process with the same arguments, unless it is in one. Only a user
  /// who is not root needs a user namespace for that.
  ///
  /// - Throws: `Broken` if that is not allowed.
  package static func enter() throws {
    if getenv(mark) != nil {
      unsetenv(mark)
      guard CLinuxShims_raise_loopback() == 0 else { throw Broken("the loopback device stays down: \(String(cString: strerror(errno)))") }
      return
    }
    let flags = (geteuid() == 0 ? [] : ["--user", "--map-root-user"]) + ["--net", "--"]
    let trial = Process()
    trial.executableURL = URL(fileURLWithPath: unshare)
    trial.arguments = flags + ["/bin/true"]
    trial.standardError = FileHandle.nullDevice
    do { try trial.run() } catch { throw Broken("machines need \(unshare), of the package util-linux, and it cannot be run: \(error)") }
    trial.waitUntilExit()
    guard trial.terminationStatus == 0 else {
      throw Broken(
        """
        machines are network namespaces, and this user may not make any: run weir-load as root, or where users may have namespaces of their own \
        (sysctl kernel.unprivileged_userns_clone, or a container's --privileged)
        """)
    }
    setenv(mark, "1", 1)
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let command = [unshare] + flags + [program] + CommandLine.arguments.dropFirst()
    var vector: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
    vector.append(nil)
    execv(unshare, vector)
    throw Broken("cannot run \(unshare): \(String(cString: strerror(errno)))")
  }
}
