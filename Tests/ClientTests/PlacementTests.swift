import Testing

@testable import LocalFleet

/// How the cores of a machine are divided among the stages.
@Suite struct PlacementTests {
  private static func costs(_ seconds: [Double]) -> [Placement.Cost] {
    seconds.enumerated().map { Placement.Cost(stage: "s\($0)", seconds: $1) }
  }

  /// Images a second that a division lets through.
  private static func rate(_ parts: [Int], _ seconds: [Double]) -> Double { zip(parts, seconds).map { Double($0) / $1 }.min() ?? 0 }

  /// Of every division of `cores` among the stages, the best one's images a second.
  private static func bestRate(_ seconds: ArraySlice<Double>, of cores: Int) -> Double {
    guard let first = seconds.first else { return .infinity }
    return (1...max(1, cores - seconds.count + 1)).map { part in
      min(Double(part) / first, bestRate(seconds.dropFirst(), of: cores - part))
    }.max() ?? 0
  }

  /// Stages of the shipped cascade, of alike ones, of one that dwarfs the others, and random ones.
  static let examples: [[Double]] = {
    var state: UInt64 = 42
    func random() -> Double {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Double(state >> 40) / Double(1 << 24) + 0.01
    }
    let some = (0..<20).map { number in (0..<2 + number % 3).map { _ in random() } }
    return [[0.27, 0.34, 1.67], [1, 1, 1], [0.001, 100], [2], [1, 2, 4, 8]] + some
  }()

  @Test(arguments: examples) func noDivisionIsFaster(seconds: [Double]) {
    for cores in seconds.count...16 {
      let parts = Placement.division(seconds, of: cores)
      #expect(parts.reduce(0, +) == cores && parts.allSatisfy { $0 >= 1 }, "\(cores) cores: \(parts)")
      #expect(Self.rate(parts, seconds) == Self.bestRate(seconds[...], of: cores), "\(cores) cores: \(parts)")
    }
  }

  @Test(arguments: examples) func everyCoreIsTaken(seconds: [Double]) {
    let ofAll = seconds.reduce(0, +)
    let stages = seconds.indices.map { "s\($0)" }
    for cores in seconds.count...80 {
      let placement = Placement.of(Self.costs(seconds), cores: cores)
      #expect(placement.reason.hasPrefix("\(cores) cores") && !placement.reason.contains("\n"))
      let taken = placement.workers.reduce(0) { $0 + $1.count * ($1.threads ?? 0) }
      #expect(taken == cores, "\(cores) cores: \(placement)")
      let division = Placement.division(seconds, of: cores)
      if Self.rate(division, seconds) * ofAll / Double(cores) >= Placement.leastBusy {
        let parts = stages.map { stage in
          placement.workers.filter { $0.stages == [stage] }.reduce(0) { $0 + $1.count * ($1.threads ?? 0) }
        }
        #expect(parts == division, "\(cores) cores: \(placement)")
        #expect(placement.workers.allSatisfy { (1...Placement.mostThreads).contains($0.threads ?? 0) && $0.count >= 1 })
      } else {
        #expect(placement.workers.allSatisfy { $0.stages == stages }, "\(cores) cores: \(placement)")
      }
    }
  }

  @Test func manyCoresAreDividedAndFewAreShared() {
    let costs = Self.costs([0.27, 0.34, 1.67])
    let all = ["s0", "s1", "s2"]
    func workers(_ cores: Int) -> [FleetPlan.StageWorkers] { Placement.of(costs, cores: cores).workers }
    // Two of four cores would wait for the last stage's.
    #expect(workers(4) == [.init(stages: all, count: 4, threads: 1)])
    #expect(
      workers(64) == [
        .init(stages: ["s0"], count: 1, threads: 8), .init(stages: ["s1"], count: 2, threads: 5),
        .init(stages: ["s2"], count: 4, threads: 8), .init(stages: ["s2"], count: 2, threads: 7),
      ])
    // Fewer cores than stages, and more than workers that hold all weights.
    func shared(_ cores: Int) -> [FleetPlan.StageWorkers] { Placement.shared(all, cores: cores, because: "so it is").workers }
    #expect(shared(1) == [.init(stages: all, count: 1, threads: 1)])
    #expect(shared(2) == [.init(stages: all, count: 2, threads: 1)])
    #expect(shared(19) == [.init(stages: all, count: 3, threads: 3), .init(stages: all, count: 5, threads: 2)])
  }

  @Test func workersOfAStageAreFewAndAlike() {
    for cores in 1...500 {
      let groups = Placement.threads(ofWorkersOn: cores)
      let each = groups.flatMap { group in (0..<group.count).map { _ in group.threads } }
      #expect(each.reduce(0, +) == cores)
      #expect(each.allSatisfy { $0 >= 1 && $0 <= Placement.mostThreads } && (each.max() ?? 0) - (each.min() ?? 0) <= 1)
      #expect(each.count == (cores + Placement.mostThreads - 1) / Placement.mostThreads)
    }
  }

  @Test func workersOfAStageAreCountedThroughAndHaveTheirThreads() {
    var plan = FleetPlan(
      executables: "/bin", bind: "tcp://127.0.0.1:7710", data: "/tmp", engine: .cascade(pipeline: "p"),
      workers: [
        .init(stages: ["a"], count: 2, threads: 8), .init(stages: ["a"], count: 1, threads: 7), .init(stages: ["b"], count: 1),
      ], threads: 3)
    func threads(_ command: Command) -> String? {
      command.arguments.firstIndex(of: "--threads").map { command.arguments[$0 + 1] }
    }
    let commands = plan.workerCommands(broker: "tcp://127.0.0.1:7710")
    #expect(commands.map(\.name) == ["a-1", "a-2", "a-3", "b-1"])
    #expect(commands.map(threads) == ["8", "8", "7", "3"])
    plan.threads = nil
    #expect(plan.workerCommands(broker: "tcp://127.0.0.1:7710").map(threads) == ["8", "8", "7", nil])
  }
}
