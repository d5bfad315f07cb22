import Glibc

/// The rate from which on a fleet falls behind, found in what arrived when and was done when.
///
/// Below it jobs are done some time after they arrive; above it they are done at that rate, whatever arrives. A queue with one server and a
/// delay does the same: `done(i) = max(arrived(i) + alone, done(i - 1) + 1 / rate)` (Lindley). The rate of the queue that would have done the jobs
/// when they were done is the fleet's. Noise in the arrivals is part of the model; noise in the work averages out over a backlog.
package struct Capacity: Hashable, Sendable {
  /// Jobs a second.
  package let perSecond: Double

  /// A queue explains what happened if it leaves no more than this part of the waiting unexplained.
  private static let unexplained = 0.5
  /// Halvings of the interval in which the rate is looked for.
  private static let refinements = 20
  private static let gridPoints = 40

  /// - Parameters:
  ///   - arrivals: in seconds, of jobs that were done, in any order.
  ///   - completions: of the same jobs, in any order.
  ///   - alone: how long a job takes that waits for none, in seconds.
  ///   - highest: the most jobs a second that arrived at any time.
  /// - Returns: `nil` if the fleet kept up with `highest`.
  package init?(arrivals: [Double], completions: [Double], alone: Double, highest: Double) {
    let arrivals = arrivals.sorted()
    let completions = completions.sorted()
    guard arrivals.count == completions.count, let first = arrivals.first, let last = completions.last, last > first, highest > 0 else {
      return nil
    }
    func error(_ rate: Double) -> Double {
      var done = -Double.infinity
      var sum = 0.0
      for (arrived, actual) in zip(arrivals, completions) {
        done = max(arrived + alone, done + 1 / rate)
        sum += abs(actual - done)
      }
      return sum
    }
    // No fleet that did so many in that time is slower than this.
    let lowest = 0.5 * Double(arrivals.count) / (last - first)
    guard lowest < highest else { return nil }
    let ratio = pow(highest / lowest, 1 / Double(Self.gridPoints))
    let grid = (0...Self.gridPoints).map { lowest * pow(ratio, Double($0)) }
    let errors = grid.map(error)
    guard let least = errors.indices.min(by: { errors[$0] < errors[$1] }) else { return nil }
    var low = grid[max(0, least - 1)]
    var high = grid[min(grid.count - 1, least + 1)]
    for _ in 0..<Self.refinements {
      let (left, right) = (low + (high - low) / 3, high - (high - low) / 3)
      if error(left) <= error(right) { high = right } else { low = left }
    }
    let rate = (low + high) / 2
    // Waiting that even a queue fast enough for everything does not explain may have other reasons than too low a rate.
    guard rate < highest, error(rate) < Self.unexplained * error(highest) else { return nil }
    perSecond = rate
  }
}
