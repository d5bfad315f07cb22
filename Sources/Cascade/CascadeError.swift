/// What was wrong with a pipeline, a request or a task's data: the message names the file and key, or the option, and what to do.
package struct CascadeError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// The pipeline's folder or a file in it cannot be read.
    case unreadable
    /// `cascade.json` is not what it must be.
    case manifest
    /// A weights file does not fit its network.
    case weights
    /// An unknown label, stage or sampler, or a number out of range.
    case options
    /// A stage's input or checkpoint that does not fit the stage.
    case input
    /// The network gave something that is not an image, or could not be run.
    case computation
  }

  package var code: Code
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
