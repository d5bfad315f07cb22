/// What a network between two machines is like, in each direction.
package struct LinkQuality: Hashable, Sendable {
  /// One way, in seconds.
  package var delay = 0.0
  /// `nil`: as many as there are.
  package var bitsPerSecond: Double?
  /// Part of the packets that are lost, from 0 to 1.
  package var loss = 0.0

  package init() {}

  /// Such as `delay=5ms,rate=1gbit,loss=0.1%`, all of it optional.
  package init(_ text: String) throws(Broken) {
    for item in text.split(separator: ",", omittingEmptySubsequences: false) {
      let parts = item.split(separator: "=", maxSplits: 1).map(String.init)
      let value = parts.count == 2 ? parts[1] : ""
      switch parts.first {
      case "delay":
        guard let seconds = Self.number(value, [("us", 1e-6), ("ms", 1e-3), ("s", 1)]), seconds <= 60 else {
          throw Broken("'\(item)': write a delay up to a minute like 5ms, 250us or 1s")
        }
        delay = seconds
      case "rate":
        guard let bits = Self.number(value, [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)]), bits >= 1e3 else {
          throw Broken("'\(item)': write a rate from 1kbit on like 100mbit or 1gbit")
        }
        bitsPerSecond = bits
      case "loss":
        guard let part = Self.number(value, [("%", 0.01)]), part <= 1 else { throw Broken("'\(item)': write a loss up to 100% like 0.1%") }
        loss = part
      default: throw Broken("'\(item)' is nothing of a link: write delay=5ms,rate=1gbit,loss=0.1%, or some of it")
      }
    }
  }

  private static func number(_ text: String, _ units: [(suffix: String, factor: Double)]) -> Double? {
    for unit in units where text.hasSuffix(unit.suffix) {
      if let number = Double(text.dropLast(unit.suffix.count)), number >= 0, number.isFinite { return number * unit.factor }
    }
    return nil
  }
}
