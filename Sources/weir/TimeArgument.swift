/// A length of time on a command line: 90, 90s, 1500ms, 10m, 2h.
package struct TimeArgument: Hashable, Sendable {
  package let milliseconds: UInt64

  /// `nil` unless it is a number and a unit that is known, at least one millisecond and at most a year.
  package init?(_ text: String) {
    let units: [(suffix: String, milliseconds: Double)] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
    let unit = units.first { text.hasSuffix($0.suffix) } ?? ("", 1_000)
    guard let number = Double(text.dropLast(unit.suffix.count)), number.isFinite else { return nil }
    let milliseconds = (number * unit.milliseconds).rounded()
    guard milliseconds >= 1, milliseconds <= 366 * 86_400_000 else { return nil }
    self.milliseconds = UInt64(milliseconds)
  }
}
