import Histogram

/// A distribution of times in milliseconds, to three digits, from 1 µs to a day.
package struct Percentiles: Hashable, Sendable, Codable {
  package var count: Int
  package var mean, p50, p90, p99, p999, max: Double

  /// - Parameter seconds: what was measured; below zero, as clocks of two machines may have it, counts as nothing.
  package init(seconds: some Sequence<Double>) {
    var histogram = Histogram<UInt64>(numberOfSignificantValueDigits: .three)
    for value in seconds where value.isFinite { histogram.record(UInt64(Swift.min(Swift.max(0, value), 86_400) * 1e6)) }
    count = Int(histogram.totalCount)
    func at(_ percentile: Double) -> Double { Double(histogram.valueAtPercentile(percentile)) / 1_000 }
    mean = count == 0 ? 0 : histogram.mean / 1_000
    p50 = at(50)
    p90 = at(90)
    p99 = at(99)
    p999 = at(99.9)
    max = count == 0 ? 0 : Double(histogram.maxRecorded) / 1_000
  }
}
