/// What was wrong with a schedule, a sampler's options or a saved state, and what to do about it.
package struct DiffusionError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable { case schedule, respacing, steps, eta, truncation, guidance, smoothing, state }

  package var code: Code
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
