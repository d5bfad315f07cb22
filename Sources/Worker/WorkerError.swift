/// Why a worker ended.
package struct WorkerError: Error, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// No broker within the time allowed.
    case brokerUnreachable
  }

  package var code: Code
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
