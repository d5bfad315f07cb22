/// Runs seeds.
package struct Simulator: Sendable {
  /// What came of a seed.
  package struct Outcome: Sendable, Equatable {
    package var seed: UInt64
    /// Events until the end, or until the violation.
    package var events: Int
    /// Of virtual time.
    package var milliseconds: Int64
    package var violation: Violation?
    /// Indices of the faults in the seed's plan.
    package var faults: [Int]
    /// Equal for equal runs.
    package var fingerprint: UInt64
  }

  /// A violation, as it can be replayed.
  package struct Finding: Sendable {
    package var outcome: Outcome
    /// The faults that are left, in words.
    package var faults: [String]
    /// The last events before it.
    package var history: [String]
  }

  package var plant: Plant?

  package init(plant: Plant? = nil) { self.plant = plant }

  /// - Parameters:
  ///   - faults: indices of the plan's faults that happen; `nil`: all.
  ///   - auditsAlways: the broker's tables are audited after every event, not every few; replays do.
  package func run(seed: UInt64, faults: [Int]? = nil, auditsAlways: Bool = false) -> Outcome {
    run(seed, faults, auditsAlways: auditsAlways, nil)
  }

  private func run(_ seed: UInt64, _ faults: [Int]?, auditsAlways: Bool, _ trace: Trace?) -> Outcome {
    let plan = SimulationPlan(seed: seed)
    let simulation = Simulation(plan, plant: plant, faults: faults.map(Set.init), auditsAlways: auditsAlways, trace: trace)
    let violation = simulation.run()
    return Outcome(
      seed: seed, events: simulation.events, milliseconds: simulation.now, violation: violation,
      faults: faults ?? Array(plan.faults.indices), fingerprint: simulation.fingerprint)
  }

  /// Runs a seed again with every check after every event.
  ///
  /// - Parameters:
  ///   - lines: how many of the last events to keep.
  ///   - print: gets every event as it happens.
  package func replay(seed: UInt64, faults: [Int]? = nil, lines: Int = 40, print: ((String) -> Void)? = nil) -> Finding {
    let trace = Trace(limit: lines, print: print)
    let outcome = run(seed, faults, auditsAlways: true, trace)
    let plan = SimulationPlan(seed: seed)
    return Finding(
      outcome: outcome, faults: outcome.faults.filter(plan.faults.indices.contains).map { "\($0): \(plan.faults[$0])" },
      history: trace.last)
  }

  /// The faults of a failing seed without which it does not fail the same way. Drops halves, then quarters, … and at last single ones, until no
  /// single one can be left out (delta debugging, Zeller 1999).
  package func minimise(seed: UInt64) -> [Int] {
    let first = run(seed: seed, auditsAlways: true)
    guard let rule = first.violation?.rule else { return first.faults }
    func fails(_ faults: [Int]) -> Bool { run(seed: seed, faults: faults, auditsAlways: true).violation?.rule == rule }
    var faults = first.faults
    var size = max(1, faults.count / 2)
    while !faults.isEmpty {
      var isSmaller = false
      var start = 0
      while start < faults.count {
        let rest = Array(faults[..<start] + faults[min(start + size, faults.count)...])
        if fails(rest) {
          faults = rest
          isSmaller = true
        } else {
          start += size
        }
      }
      if size == 1, !isSmaller { break }
      if !isSmaller { size = max(1, size / 2) }
      size = min(size, max(1, faults.count))
    }
    return faults
  }
}
