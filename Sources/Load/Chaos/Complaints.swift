import Synchronization

/// What a broker reports of a journal that is not what was written. It listens to all of the fleet's output.
final class Complaints: Sendable {
  private static let words = ["damaged", "missing or incomplete", "is lost", "are lost", "cannot be read", "does not fit"]

  private let first = Mutex<String?>(nil)

  func note(_ line: String) {
    guard line.hasPrefix("broker | "), Self.words.contains(where: { line.contains($0) }) else { return }
    first.withLock { $0 = $0 ?? line }
  }

  /// - Throws: `Broken` if there was one.
  func check(_ when: String) throws {
    if let line = first.withLock({ $0 }) { throw Broken("\(when) the broker found its journal other than it was written: \(line)") }
  }
}
