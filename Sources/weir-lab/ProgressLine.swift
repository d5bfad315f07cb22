import Foundation

/// A line on standard error that says how far a command is, for who watches it on a terminal.
enum ProgressLine {
  private static let isShown = isatty(FileHandle.standardError.fileDescriptor) != 0

  /// In place of what the line said before.
  static func show(_ text: String) {
    if isShown { FileHandle.standardError.write(Data("\r\u{1B}[K\(text)".utf8)) }
  }

  static func clear() { show("") }
}
