/// What stopped a training run: names what was wrong and what to do about it.
package struct TrainingError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: String, Sendable {
    case data
    case options
    case checkpoint
    case stage
    case diverged
    case file
    case processes
  }

  package let code: Code
  package let message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
