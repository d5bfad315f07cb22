/// A load test's runs, all alike but for their seeds.
///
/// As JSON it is the report of the run whose throughput is the median, and `repeats`, the reports of all.
package struct LoadResult: Sendable {
  /// At least one.
  package let repeats: [LoadReport]

  package init(repeats: [LoadReport]) { self.repeats = repeats }

  package var median: LoadReport {
    let sorted = repeats.sorted { $0.throughputPerS < $1.throughputPerS }
    return sorted[(sorted.count - 1) / 2]
  }

  package var wrong: Int { repeats.reduce(0) { $0 + $1.wrong } }
  package var missing: Int { repeats.reduce(0) { $0 + ($1.missing ?? 0) } }
}

extension LoadResult: Codable {
  private enum Key: CodingKey { case repeats }

  package init(from decoder: any Decoder) throws {
    repeats = try decoder.container(keyedBy: Key.self).decode([LoadReport].self, forKey: .repeats)
    guard !repeats.isEmpty else { throw Broken("it has no runs") }
  }

  package func encode(to encoder: any Encoder) throws {
    try median.encode(to: encoder)
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(repeats, forKey: .repeats)
  }
}
