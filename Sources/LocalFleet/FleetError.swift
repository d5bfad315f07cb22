/// Why a fleet on this machine didn't start.
package struct FleetError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// A program is not where it should be.
    case missing
    /// A process ended before it was ready.
    case failed
    /// The fleet was stopped while it started.
    case stopped
    /// `cascade.json` can't be read.
    case pipeline
  }

  package var code: Code
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
