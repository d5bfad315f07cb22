/// The last lines of a run's history.
final class Trace {
  private let limit: Int
  private var lines: [String] = []
  /// Called with every line.
  private let print: ((String) -> Void)?

  init(limit: Int, print: ((String) -> Void)? = nil) {
    self.limit = limit
    self.print = print
  }

  var last: [String] { lines.suffix(limit) }

  func add(number: Int, time: Int64, _ text: String) {
    let text = text.utf8.count > 300 ? String(text.prefix(300)) + "…" : text
    let line = "#\(number) \(time) ms  \(text)"
    print?(line)
    lines.append(line)
    if lines.count > 2 * limit { lines.removeFirst(lines.count - limit) }
  }
}
