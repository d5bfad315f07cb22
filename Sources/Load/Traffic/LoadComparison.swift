/// What changed between two load tests, and whether it is more than the noise: their runs' ranges must not touch.
package struct LoadComparison: Sendable {
  package enum Verdict: String, Sendable {
    case better, worse
    case noise = "within the noise"
    /// One run says nothing about noise.
    case unknown = "repeat to know"
  }

  package struct Line: Sendable {
    package var name: String
    /// Medians.
    package var before, after: Double
    package var verdict: Verdict

    /// In percent of what it was; `nil` if that is zero.
    package var change: Double? { before == 0 ? nil : (after - before) / before * 100 }
  }

  package let lines: [Line]

  package init(_ before: LoadResult, _ after: LoadResult) {
    var lines: [Line] = []
    func add(_ name: String, isHigherBetter: Bool = false, _ value: (LoadReport) -> Double?) {
      let (a, b) = (before.repeats.compactMap(value).sorted(), after.repeats.compactMap(value).sorted())
      guard let lowA = a.first, let highA = a.last, let lowB = b.first, let highB = b.last else { return }
      let verdict: Verdict
      if a.count < 2 || b.count < 2 {
        verdict = .unknown
      } else if lowB > highA || highB < lowA {
        verdict = (lowB > highA) == isHigherBetter ? .better : .worse
      } else {
        verdict = .noise
      }
      lines.append(Line(name: name, before: a[(a.count - 1) / 2], after: b[(b.count - 1) / 2], verdict: verdict))
    }
    add("images/s", isHigherBetter: true, \.throughputPerS)
    add("steady images/s", isHigherBetter: true, \.steadyPerS)
    add("goodput", isHigherBetter: true, \.goodput)
    add("latency p50 ms", \.latencyMs.p50)
    add("latency p90 ms", \.latencyMs.p90)
    add("latency p99 ms", \.latencyMs.p99)
    add("accept p99 ms", \.acceptMs.p99)
    add("deadlines met", isHigherBetter: true, \.deadlineAttainment)
    add("fairness", isHigherBetter: true, \.fairness)
    add("step-seconds/image", \.stepSecondsPerImage)
    add("broker µs/task") { $0.broker?.cpuUsPerTask }
    for stage in Set(before.median.stages.keys).intersection(after.median.stages.keys).sorted() {
      add("\(stage) queue p50 ms") { $0.stages[stage]?.queueMs.p50 }
      add("\(stage) compute p50 ms") { $0.stages[stage]?.computeMs.p50 }
      add("\(stage) fill", isHigherBetter: true) { $0.stages[stage]?.fill }
    }
    self.lines = lines
  }
}
