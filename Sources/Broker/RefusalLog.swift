/// Which refusals are worth a line: a storm of them must not fill the disk. Of one kind the first is, the second, the fourth and so on; of all
/// kinds a few at once, and then one now and then.
struct RefusalLog {
  private static let burst = 20.0
  private static let perMillisecond = 1.0 / 5_000
  static let maxKinds = 1_000

  private var credit = Self.burst
  private var last: Int64 = 0
  private var counts: [String: Int] = [:]
  private var unwritten = 0

  var kinds: Int { counts.count }

  /// The line to write; `nil`: none.
  mutating func line(_ text: String, at now: Int64) -> String? {
    credit = min(Self.burst, credit + Double(max(0, now - last)) * Self.perMillisecond)
    last = max(last, now)
    if counts.count >= Self.maxKinds, counts[text] == nil { counts = [:] }
    let count = counts[text, default: 0] + 1
    counts[text] = count
    guard count.nonzeroBitCount == 1, credit >= 1 else {
      unwritten += 1
      return nil
    }
    credit -= 1
    defer { unwritten = 0 }
    return text + (count > 1 ? ", \(count) times so far" : "") + (unwritten > 0 ? " (\(unwritten) refusals since the last line)" : "")
  }
}
