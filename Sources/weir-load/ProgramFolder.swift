import Foundation

enum ProgramFolder {
  /// Where this program lies, and the others beside it.
  static func path() throws -> String {
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    return URL(fileURLWithPath: program).deletingLastPathComponent().path
  }
}
