import Foundation
import Glibc

/// What is known about where standard error goes.
struct Terminal {
  /// It is a terminal that understands cursor movement.
  let isInteractive: Bool
  let color: Bool
  let unicode: Bool

  static let standardError: Terminal = {
    let environment = ProcessInfo.processInfo.environment
    let isInteractive = isatty(STDERR_FILENO) == 1 && environment["TERM"] != "dumb"
    // no-color.org: any value but the empty one
    let noColor = environment["NO_COLOR"].map { !$0.isEmpty } ?? false
    // POSIX: the first of these that is set and not empty decides.
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { environment[$0] }.first { !$0.isEmpty } ?? ""
    let encoding = locale.lowercased()
    return Terminal(
      isInteractive: isInteractive, color: isInteractive && !noColor,
      unicode: encoding.hasSuffix("utf-8") || encoding.hasSuffix("utf8"))
  }()

  /// Now, in columns: a window may change its size at any time.
  var width: Int {
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }
}

/// Output lines. Whole lines go out in one write, so that those of several processes don't mix.
enum Output {
  static func line(_ text: String) { write(text + "\n", STDOUT_FILENO) }
  static func error(_ text: String) { write(text + "\n", STDERR_FILENO) }

  static func write(_ text: String, _ descriptor: Int32) {
    var text = text
    text.withUTF8 { bytes in
      var rest = UnsafeRawBufferPointer(bytes)
      while !rest.isEmpty {
        let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
        if count < 0 && errno == EINTR { continue }
        // Nobody reads any more: what the command does matters more than what it says.
        guard count > 0 else { return }
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      }
    }
  }
}
