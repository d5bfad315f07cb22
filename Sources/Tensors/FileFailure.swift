import Glibc

/// A system call on a file that failed.
package struct FileFailure: Error {
  package let operation: String
  package let reason: String

  package init(_ operation: String, reason: String? = nil) {
    let code = errno
    self.operation = operation
    self.reason = reason ?? String(cString: strerror(code))
  }
}
