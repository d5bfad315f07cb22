/// What stopped a network from being built, loaded or run: names what was wrong and what to do about it.
package struct UNetError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: String, Sendable {
    /// A configuration that names no network.
    case configuration
    /// Weights that aren't the configuration's.
    case weights
    /// An input of the wrong shape, type or number.
    case input
  }

  package let code: Code
  package let message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
