import CTorchBridge

/// LibTorch refused an operation.
package struct TorchError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The operation that failed, by its name here.
  package let operation: String
  /// LibTorch's message, without its backtrace.
  package let message: String

  package init(operation: String, message: String) {
    self.operation = operation
    self.message = message
  }

  package var description: String { "\(operation): \(message)" }
}

/// Turns a bridge call's status into an error; to be called on the thread that made the call, before its next one.
func check(_ operation: StaticString, _ status: wt_status) throws(TorchError) {
  guard status == WT_OK else {
    throw TorchError(operation: "\(operation)", message: wt_last_error().map { String(cString: $0) } ?? "no message")
  }
}
