import Testing
import Wire

@testable import Load

@Suite struct ArrivalsTests {
  @Test(arguments: [
    ("constant", ArrivalPattern.constant(rate: 50)), ("poisson", .poisson(rate: 50)), ("gamma", .gamma(rate: 50, shape: 0.3)),
    ("steady", .gamma(rate: 50, shape: 8)), ("burst", .burst(rate: 50, size: 7)), ("ramp", .ramp(from: 0.001, to: 100)),
  ]) func theSameSeedGivesTheSameTimes(_ name: String, _ pattern: ArrivalPattern) {
    let times = Array(Arrivals(pattern, duration: 200, seed: 5))
    #expect(times == Array(Arrivals(pattern, duration: 200, seed: 5)))
    #expect(times == times.sorted() && times.allSatisfy { (0..<200).contains($0) }, "\(name)")
    // The mean of many: 10,000 are expected, and their number varies by 100 if they are independent, by more in bunches.
    #expect((9_000...11_000).contains(times.count), "\(name): \(times.count)")
    if name != "constant" { #expect(times != Array(Arrivals(pattern, duration: 200, seed: 6)), "\(name)") }
  }

  /// The variance of a gamma distribution's gaps, by the square of their mean, is 1 / shape.
  @Test(arguments: [0.25, 1, 4]) func gammaGapsVaryAsTheirShapeSays(_ shape: Double) {
    let times = Array(Arrivals(.gamma(rate: 100, shape: shape), duration: 500, seed: 11))
    let gaps = zip(times, times.dropFirst()).map { $1 - $0 }
    let mean = gaps.reduce(0, +) / Double(gaps.count)
    let variance = gaps.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(gaps.count)
    #expect(abs(mean - 0.01) < 0.0005, "\(mean)")
    #expect(abs(variance / mean / mean * shape - 1) < 0.1, "\(variance / mean / mean)")
  }

  @Test func burstsComeTogether() {
    let times = Array(Arrivals(.burst(rate: 10, size: 5), duration: 100, seed: 1))
    for start in stride(from: 0, to: times.count - 5, by: 5) { #expect(Set(times[start..<start + 5]).count == 1) }
  }

  @Test func aRampRises() {
    let times = Array(Arrivals(.ramp(from: 10, to: 90), duration: 100, seed: 3))
    let late = times.count { $0 >= 75 }
    // A quarter of the time at 80 a second in the mean.
    #expect((1_800...2_200).contains(late), "\(late)")
  }

  @Test func jobsFollowFromTheSeed() {
    var big = JobMix.Kind()
    big.name = "big"
    big.count = 16
    var small = JobMix.Kind()
    small.weight = 3
    let mix = JobMix(kinds: [big, small])
    let kinds = (0..<4_000).map { mix.kind(ofJob: $0, seed: 7) }
    #expect(kinds == (0..<4_000).map { mix.kind(ofJob: $0, seed: 7) })
    #expect((900...1_100).contains(kinds.count { $0 == 0 }), "\(kinds.count { $0 == 0 })")
    let jobs = (0..<100).map { mix.submission(ofJob: $0, kind: 0, seed: 7, labels: 12) }
    #expect(Set(jobs.map(\.runs[0].seed)).count == 100 && Set(jobs.map(\.runs[0].label)).count > 6)
    #expect(jobs[3] == mix.submission(ofJob: 3, kind: 0, seed: 7, labels: 12))
  }
}
