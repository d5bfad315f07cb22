/// What was wrong with an image's bytes or its text.
package struct ImageError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// Not a PNG, or a damaged one.
    case invalid
    /// Larger than this program takes.
    case tooLarge
    /// A text chunk's key or value cannot be stored.
    case text
    /// Writing failed.
    case encoding
  }

  package var code: Code
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
