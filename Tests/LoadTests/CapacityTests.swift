import Glibc
import SeededRandom
import Testing

@testable import Load

/// The knee of ramps, against queues whose rate is known.
@Suite struct CapacityTests {
  /// Servers that take the first job that waits, and the times that each job takes.
  private func completions(_ arrivals: [Double], servers: Int, delay: Double = 0, _ work: () -> Double) -> [Double] {
    var free = [Double](repeating: 0, count: servers)
    return arrivals.map { arrival in
      let server = free.indices.min { free[$0] < free[$1] } ?? 0
      free[server] = max(arrival, free[server]) + work()
      return free[server] + delay
    }
  }

  private func ramp(_ from: Double, _ to: Double, seconds: Double = 120, seed: UInt64) -> [Double] {
    Array(Arrivals(.ramp(from: from, to: to), duration: seconds, seed: seed))
  }

  @Test(arguments: [(1, 20.0), (1, 38), (4, 38), (16, 60), (2, 90)], [1, 2, 3] as [UInt64])
  func ofServersThatTakeTheSameTime(_ queue: (servers: Int, rate: Double), seed: UInt64) throws {
    let arrivals = ramp(1, 100, seed: seed)
    let work = Double(queue.servers) / queue.rate
    let done = completions(arrivals, servers: queue.servers) { work }
    let capacity = try #require(Capacity(arrivals: arrivals, completions: done.shuffled(), alone: work, highest: 100))
    #expect(abs(capacity.perSecond / queue.rate - 1) < 0.02, "\(capacity.perSecond) for \(queue)")
  }

  /// Work that varies as much as its mean.
  @Test(arguments: [1, 2, 3, 4, 5] as [UInt64]) func ofServersThatTakeAnyTime(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let arrivals = ramp(1, 100, seed: seed + 100)
    let done = completions(arrivals, servers: 4) { -log(1 - random.unit()) * 4 / 38 }
    let capacity = try #require(Capacity(arrivals: arrivals, completions: done, alone: 4.0 / 38, highest: 100))
    #expect(abs(capacity.perSecond / 38 - 1) < 0.06, "\(capacity.perSecond)")
  }

  /// Three stages, the middle one of which is the slowest, each with its own variation.
  @Test(arguments: [1, 2, 3] as [UInt64]) func ofAPipelineItIsTheSlowestStages(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    var times = ramp(1, 80, seed: seed + 7)
    let arrivals = times
    for (servers, rate) in [(2, 70.0), (3, 40), (5, 60)] {
      times = completions(times, servers: servers) { Double(servers) / rate * (0.8 + 0.4 * random.unit()) }.sorted()
    }
    let alone = 2 / 70.0 + 3 / 40 + 5 / 60.0
    let capacity = try #require(Capacity(arrivals: arrivals, completions: times, alone: alone, highest: 80))
    #expect(abs(capacity.perSecond / 40 - 1) < 0.03, "\(capacity.perSecond)")
  }

  /// A broker that is at its limits refuses; what it takes it still does at the fleet's rate.
  @Test func refusalsDoNotHideIt() throws {
    var waiting: [Double] = []
    var arrivals: [Double] = []
    for arrival in ramp(1, 100, seed: 9) {
      waiting.removeAll { $0 <= arrival }
      guard waiting.count < 200 else { continue }
      arrivals.append(arrival)
      waiting.append(max(arrival, waiting.last ?? 0) + 1 / 38.0)
    }
    let done = completions(arrivals, servers: 1) { 1 / 38.0 }
    let capacity = try #require(Capacity(arrivals: arrivals, completions: done, alone: 1 / 38.0, highest: 100))
    #expect(abs(capacity.perSecond / 38 - 1) < 0.02, "\(capacity.perSecond)")
  }

  @Test func aRampThatBeginsAboveItFindsIt() throws {
    let arrivals = ramp(60, 100, seed: 4)
    let done = completions(arrivals, servers: 2) { 2 / 38.0 }
    let capacity = try #require(Capacity(arrivals: arrivals, completions: done, alone: 2 / 38.0, highest: 100))
    #expect(abs(capacity.perSecond / 38 - 1) < 0.02, "\(capacity.perSecond)")
  }

  /// Jobs that take longer beside others, or now and then, for reasons of their own, do not fall behind.
  @Test(arguments: [150.0, 400]) func whoKeepsUpHasNoKnee(rate: Double) {
    var random = SplitMix64(seed: 3)
    let arrivals = ramp(1, 100, seed: 2)
    let quick = completions(arrivals, servers: 4) { 4 / rate }
    #expect(Capacity(arrivals: arrivals, completions: quick, alone: 4 / rate, highest: 100) == nil)
    let crowded = zip(arrivals, quick).map { $1 + 0.1 * random.unit() + 0.001 * $0 }
    #expect(Capacity(arrivals: arrivals, completions: crowded, alone: 4 / rate, highest: 100) == nil)
  }

  @Test func nothingSaysNothing() {
    #expect(Capacity(arrivals: [], completions: [], alone: 1, highest: 10) == nil)
    #expect(Capacity(arrivals: [1], completions: [2], alone: 1, highest: 10) == nil)
  }
}
