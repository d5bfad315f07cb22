/// What is wrong with images or features that are to be evaluated, and what to do.
package struct EvaluationError: Error, CustomStringConvertible {
  package var message: String

  package init(_ message: String) { self.message = message }

  package var description: String { message }
}
