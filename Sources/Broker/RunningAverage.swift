/// An exponentially weighted average: what it was of the old measurements counts by so much less with each new one.
struct RunningAverage {
  /// What a new measurement counts.
  private let share: Double
  /// `nil`: there was none.
  private(set) var value: Double?

  init(share: Double) { self.share = share }

  mutating func add(_ new: Double) { value = value.map { $0 + share * (new - $0) } ?? new }
}
