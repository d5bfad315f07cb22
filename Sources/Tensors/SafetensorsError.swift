/// A safetensors file that can't be read or written.
package struct SafetensorsError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: String, Sendable {
    /// The file can't be opened, mapped, or is no regular file.
    case cannotRead
    /// The file ends before what its header promises, or has more.
    case wrongSize
    /// The header isn't the JSON that the format asks for, is too long, or names something twice.
    case badHeader
    /// A tensor's type, shape or place is impossible.
    case badTensor
    /// The file has no tensor of that name.
    case noSuchTensor
    /// The file can't be written.
    case cannotWrite
  }

  package let code: Code
  package let path: String
  /// What is wrong, and where it helps, what to do.
  package let message: String

  package var description: String { "\(path): \(message)" }
}
