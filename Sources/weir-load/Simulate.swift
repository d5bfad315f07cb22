import ArgumentParser
import Foundation
import Load

struct Simulate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs the broker and its peers in virtual time with everything going wrong.",
    discussion: """
      The real cores of the broker and the workers, clients and a journal in memory run under a virtual clock while a seeded adversary kills, \
      freezes and cuts off each of them, at every point between a commit and the messages that follow it. Every promise is checked after every \
      event. One seed is one run, the same on every machine. A violation is printed with its seed, the number of its event, the fewest faults \
      it needs, and the last events; --seed replays it.

      --plant gives the broker a bug, to prove that it would be found; --plant list prints their names:

      \(Plant.allCases.map { "  \($0.rawValue): \($0.explanation)" }.joined(separator: "\n"))

      Exit status: 0 no violation, 1 a violation, 2 wrong arguments.
      """)

  @Option(help: "How many seeds to run.")
  var seeds: UInt64 = 1_000

  @Option(help: "The first of them.")
  var from: UInt64 = 1

  @Option(help: "Run this one alone, with every check after every event.")
  var seed: UInt64?

  @Option(help: ArgumentHelp("With --seed: only these of its faults happen: 0,3,7, or none.", valueName: "list"))
  var faults: String?

  @Flag(help: "With --seed: print every event.")
  var trace = false

  @Option(help: ArgumentHelp("Give the broker this bug, or list them.", valueName: "bug"))
  var plant: String?

  @Flag(help: "Print one JSON object.")
  var json = false

  /// Between two lines about how far it is, on standard error.
  private static let reportInterval = Duration.seconds(10)

  private var chosenPlant: Plant? { plant.flatMap(Plant.init(rawValue:)) }

  func validate() throws {
    if let plant, plant != "list", chosenPlant == nil {
      throw ValidationError("--plant \(plant): there is no such bug; --plant list prints those there are.")
    }
    guard seed != nil || (faults == nil && !trace) else { throw ValidationError("--faults and --trace need --seed.") }
    _ = try chosenFaults()
  }

  private func chosenFaults() throws -> [Int]? {
    guard let faults, faults != "none" else { return faults.map { _ in [] } }
    return try faults.split(separator: ",").map { text in
      guard let index = Int(text), index >= 0 else { throw ValidationError("--faults \(faults): write numbers with commas, or none.") }
      return index
    }
  }

  func run() throws {
    if plant == "list" { return print(Plant.allCases.map(\.rawValue).joined(separator: "\n")) }
    let simulator = Simulator(plant: chosenPlant)
    if let seed {
      try report(simulator.replay(seed: seed, faults: try chosenFaults(), print: trace ? { print($0) } : nil))
    } else {
      try sweep(simulator)
    }
  }

  private func sweep(_ simulator: Simulator) throws {
    let start = ContinuousClock.now
    var nextReport = start + Self.reportInterval
    var events = 0
    var fingerprint: UInt64 = 0
    for number in 0..<seeds {
      let outcome = simulator.run(seed: from &+ number)
      events += outcome.events
      fingerprint = fingerprint &* 31 &+ outcome.fingerprint
      if outcome.violation != nil {
        // The replay audits more often, so it may fail sooner.
        let faults = simulator.minimise(seed: outcome.seed)
        return try report(simulator.replay(seed: outcome.seed, faults: faults), after: number + 1, start.duration(to: .now))
      }
      if ContinuousClock.now >= nextReport {
        nextReport += Self.reportInterval
        FileHandle.standardError.write(Data("\(number + 1) seeds, \(rate(number + 1, start.duration(to: .now))) a second\n".utf8))
      }
    }
    let elapsed = start.duration(to: .now)
    if json {
      try printJSON(
        Report(
          seeds: seeds, from: from, seedsPerSecond: rate(seeds, elapsed), events: events, fingerprint: text(fingerprint), plant: plant))
    } else {
      print(
        """
        \(seeds) seeds from \(from), \(events) events: no violation; \(rate(seeds, elapsed)) seeds/s, fingerprint \(text(fingerprint))
        """)
    }
  }

  private func report(_ finding: Simulator.Finding, after count: UInt64 = 1, _ elapsed: Duration? = nil) throws {
    let outcome = finding.outcome
    var replay = "weir-load simulate --seed \(outcome.seed)"
    if let plant { replay += " --plant \(plant)" }
    replay += " --faults " + (outcome.faults.isEmpty ? "none" : outcome.faults.map(String.init).joined(separator: ","))
    if json {
      var report = Report(
        seeds: count, from: from, seedsPerSecond: elapsed.map { rate(count, $0) }, events: outcome.events,
        fingerprint: text(outcome.fingerprint), plant: plant)
      if let violation = outcome.violation {
        report.violation = Report.Violation(
          seed: outcome.seed, event: outcome.events, promise: violation.rule.rawValue, what: violation.what, faults: finding.faults,
          replay: replay, history: finding.history)
      }
      try printJSON(report)
    } else if let violation = outcome.violation {
      print("VIOLATION in seed \(outcome.seed) at event \(outcome.events), \(outcome.milliseconds) ms: \(violation)")
      print("found after \(count) seed\(count == 1 ? "" : "s"); \(finding.faults.count) faults are needed:")
      for fault in finding.faults { print("  \(fault)") }
      if !trace {
        print("last events:")
        for line in finding.history { print("  \(line)") }
      }
      print("replay: \(replay)")
    } else {
      print(
        """
        seed \(outcome.seed): no violation in \(outcome.events) events, \(outcome.milliseconds) ms; \
        fingerprint \(text(outcome.fingerprint))
        """)
    }
    if outcome.violation != nil { throw ExitCode(1) }
  }

  private func text(_ fingerprint: UInt64) -> String { String(fingerprint, radix: 16) }

  private func rate(_ count: UInt64, _ elapsed: Duration) -> Double {
    (Double(count) / (elapsed / .seconds(1)) * 10).rounded() / 10
  }

  private func printJSON(_ report: Report) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    print(String(decoding: try encoder.encode(report), as: UTF8.self))
  }

  private struct Report: Encodable {
    struct Violation: Encodable {
      var seed: UInt64
      var event: Int
      var promise: String
      var what: String
      var faults: [String]
      var replay: String
      var history: [String]
    }

    var seeds: UInt64
    var from: UInt64
    var seedsPerSecond: Double?
    var events: Int
    /// Equal on every machine.
    var fingerprint: String
    var plant: String?
    var violation: Violation?
  }
}
