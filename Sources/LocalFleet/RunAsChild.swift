import CLinuxShims
import Glibc

/// The arguments with which `weir` becomes a program that ends when `parent` does.
func childArguments(parent: Int32, executable: String, arguments: [String]) -> [String] {
  ["run-child", "--parent", "\(parent)", "--", executable] + arguments
}

/// Becomes another program, which gets SIGTERM when the process `parent` ends, however it ends.
///
/// The kernel does this on behalf of the thread that started the child: it has to be one that lives as long as its process, as that of
/// swift-subprocess does.
///
/// - Returns: Why it could not.
package func runAsChild(of parent: Int32, executable: String, arguments: [String]) -> String {
  guard CLinuxShims_signal_when_parent_ends(SIGTERM, parent) == 0 else {
    return "process \(parent), which should own \(executable), has ended: \(String(cString: strerror(errno)))"
  }
  // Of a fleet's processes each has its own keys, as arguments, or none: whose this program's are is another matter.
  for variable in ["WEIR_KEY_FILE", "WEIR_BROKER_KEY"] { unsetenv(variable) }
  var vector: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) }
  vector.append(nil)
  execv(executable, vector)
  return "cannot run \(executable): \(String(cString: strerror(errno)))"
}
