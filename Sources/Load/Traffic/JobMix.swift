import Foundation
import SeededRandom
package import Wire

/// What the jobs of a run ask for: kinds of jobs, each drawn with a probability proportional to its weight.
///
/// As a file it is JSON, every field but `weight` a job's, none needed:
/// ```json
/// {"jobs": [
///   {"name": "big", "weight": 1, "tenant": "a", "count": 16, "steps": {"base32": 40}},
///   {"name": "small", "weight": 9, "tenant": "b", "priority": "high", "deadline": 30, "hold_after": "base32", "keep": 1}
/// ]}
/// ```
package struct JobMix: Hashable, Sendable {
  package struct Kind: Hashable, Sendable {
    /// For the report.
    package var name = "jobs"
    package var weight = 1.0
    /// `nil`: one of the pipeline's, drawn for each job.
    package var label: String?
    package var count: UInt32 = 1
    package var tenant = ""
    package var priority = Priority.normal
    /// In seconds; `nil`: none.
    package var deadline: Double?
    /// Of stages by name; others keep the pipeline's.
    package var steps: [String: UInt32] = [:]
    /// Samples wait after this stage; empty: none does.
    package var holdAfter = ""
    /// How many of those that wait go on.
    package var keep: UInt32 = 1

    package init() {}

    /// What of it decides how long it takes on a fleet that does nothing else.
    var alone: Self {
      var kind = Self()
      kind.count = count
      kind.steps = steps
      kind.holdAfter = holdAfter
      kind.keep = keep
      return kind
    }
  }

  package var kinds: [Kind]

  package init(kinds: [Kind]) { self.kinds = kinds }

  /// The kind of the job of a number; the same seed gives the same.
  package func kind(ofJob number: Int, seed: UInt64) -> Int {
    var random = SplitMix64(seed: seed ^ UInt64(truncatingIfNeeded: number) &* 0x9e37_79b9_7f4a_7c15)
    var rest = random.unit() * kinds.reduce(0) { $0 + $1.weight }
    for (index, kind) in kinds.enumerated() {
      rest -= kind.weight
      if rest < 0 { return index }
    }
    return kinds.count - 1
  }

  /// The job of a number. Its samples' seeds are its own, and follow from the run's.
  ///
  /// - Parameter labels: how many the pipeline has.
  package func submission(ofJob number: Int, kind: Int, seed: UInt64, labels: Int) -> Submission {
    let kind = kinds[kind]
    var random = SplitMix64(seed: seed &+ UInt64(truncatingIfNeeded: number) &* 0xd134_2543_de82_ef95)
    let label = kind.label ?? "\(Int.random(in: 0..<max(1, labels), using: &random))"
    return Submission(
      runs: [SampleRun(label: label, seed: random.next() >> 1, count: kind.count)],
      options: kind.steps.sorted { $0.key < $1.key }.map { StageOptions(stage: $0.key, steps: $0.value) }, tenant: kind.tenant,
      priority: kind.priority, deadlineMilliseconds: kind.deadline.map { UInt64($0 * 1_000) }, holdAfter: kind.holdAfter)
  }
}

extension JobMix: Decodable {
  private enum Key: String, CodingKey, CaseIterable { case jobs }

  package init(from decoder: any Decoder) throws {
    try decoder.refuseUnknownKeys(Key.self)
    kinds = try decoder.container(keyedBy: Key.self).decode([Kind].self, forKey: .jobs)
    guard !kinds.isEmpty else { throw Broken("a mix needs at least one kind of job") }
  }
}

extension JobMix.Kind: Decodable {
  private enum Key: String, CodingKey, CaseIterable {
    case name, weight, label, count, tenant, priority, deadline, steps, keep
    case holdAfter = "hold_after"
  }

  package init(from decoder: any Decoder) throws {
    try decoder.refuseUnknownKeys(Key.self)
    let values = try decoder.container(keyedBy: Key.self)
    name = try values.decodeIfPresent(String.self, forKey: .name) ?? name
    weight = try values.decodeIfPresent(Double.self, forKey: .weight) ?? weight
    label = try values.decodeIfPresent(String.self, forKey: .label)
    count = try values.decodeIfPresent(UInt32.self, forKey: .count) ?? count
    tenant = try values.decodeIfPresent(String.self, forKey: .tenant) ?? tenant
    deadline = try values.decodeIfPresent(Double.self, forKey: .deadline)
    steps = try values.decodeIfPresent([String: UInt32].self, forKey: .steps) ?? steps
    holdAfter = try values.decodeIfPresent(String.self, forKey: .holdAfter) ?? holdAfter
    keep = try values.decodeIfPresent(UInt32.self, forKey: .keep) ?? keep
    if let text = try values.decodeIfPresent(String.self, forKey: .priority) {
      guard let priority = Priority(text) else { throw Broken("priority \"\(text)\": give low, normal or high") }
      self.priority = priority
    }
    guard weight > 0, weight.isFinite else { throw Broken("weight \(weight): give a number above 0") }
    guard count >= 1, keep >= 1, keep <= count else {
      throw Broken("count \(count), keep \(keep): give at least 1, and keep no more than there are")
    }
    guard deadline ?? 1 > 0, deadline ?? 1 < 1e9 else { throw Broken("deadline \(deadline ?? 0): give seconds above 0") }
  }
}

extension Decoder {
  /// A field that is written wrongly must not pass for one that is absent.
  fileprivate func refuseUnknownKeys<Key: CodingKey & CaseIterable>(_: Key.Type) throws {
    let known = Key.allCases.map(\.stringValue)
    for key in try container(keyedBy: AnyKey.self).allKeys where !known.contains(key.stringValue) {
      throw Broken("\"\(key.stringValue)\" means nothing in a mix; what does is \(known.joined(separator: ", "))")
    }
  }
}

private struct AnyKey: CodingKey {
  var stringValue: String
  var intValue: Int? { nil }

  init(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { nil }
}

extension Priority {
  /// `low`, `normal` or `high`.
  package init?(_ text: String) {
    guard let priority = Self.allCases.first(where: { $0.text == text }) else { return nil }
    self = priority
  }

  package var text: String {
    switch self {
    case .low: "low"
    case .normal: "normal"
    case .high: "high"
    }
  }
}
