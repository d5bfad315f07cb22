import Foundation

/// Makes idle threads of the numerics library sleep instead of spin. It reads this setting when it is loaded, before `main`, so the process
/// starts itself anew once; its id stays.
func setThreadPolicy() {
  let variable = "OMP_WAIT_POLICY"
  guard getenv(variable) == nil else { return }
  setenv(variable, "passive", 1)
  // By its real path, or the process would be listed under the name of the link.
  var buffer = [CChar](repeating: 0, count: 4096)
  guard readlink("/proc/self/exe", &buffer, buffer.count - 1) > 0 else { return }
  var arguments: [UnsafeMutablePointer<CChar>?] = CommandLine.arguments.map { strdup($0) }
  arguments.append(nil)
  // Returns only if it failed, and then spinning threads are no reason not to work.
  execv(buffer, arguments)
}
