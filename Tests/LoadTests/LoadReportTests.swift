import Foundation
import Testing
import Wire

@testable import Load

@Suite struct LoadReportTests {
  private func outcome(
    _ number: Int, kind: Int = 0, at intended: Double, late: Double = 0, takes: Double, _ end: JobOutcome.End = .done
  ) -> JobOutcome {
    JobOutcome(
      number: number, kind: kind, samples: 2, intended: intended, submitted: intended + late, accepted: intended + late + 0.01,
      ended: intended + takes, end: end, job: JobID(rawValue: UInt64(number) + 1))
  }

  private func mix(_ tenants: [String]) -> JobMix {
    JobMix(
      kinds: tenants.map { tenant in
        var kind = JobMix.Kind()
        kind.tenant = tenant
        return kind
      })
  }

  private func report(_ outcomes: [JobOutcome], _ mix: JobMix, histories: [JobHistory] = [], warmUp: Double = 0) -> LoadReport {
    let record = LoadRecord(
      outcomes: outcomes, histories: histories,
      occupancy: [StageOccupancy(time: 1, stage: "a", workers: 2, slots: 8, running: 2, busyWorkers: 1)],
      solo: mix.kinds.map { _ in 0.1 }, start: 1_000_000, seconds: 10)
    let settings = LoadRun.Settings(pattern: .poisson(rate: 1), mix: mix, duration: 10, warmUp: warmUp, seed: 1)
    return LoadReport(record, of: settings, pattern: "test")
  }

  /// A job that is submitted late was waited for all the same.
  @Test func timesCountFromTheIntendedSubmission() {
    let result = report((0..<100).map { outcome($0, at: Double($0) / 10, late: 1, takes: 1.2) }, mix([""]))
    #expect(abs(result.latencyMs.p50 - 1_200) < 2 && abs(result.acceptMs.p50 - 10) < 0.1)
    #expect(result.goodput == 0)
  }

  @Test func theWarmUpDoesNotCount() {
    let slow = (0..<10).map { outcome($0, at: Double($0) / 10, takes: 5) }
    let quick = (10..<100).map { outcome($0, at: Double($0) / 10, takes: 0.2) }
    let result = report(slow + quick, mix([""]), warmUp: 1)
    #expect(result.jobs.submitted == 90 && result.latencyMs.max < 201 && result.goodput == 1)
    // 180 images between second 1 and the end of the last, at 10.1.
    #expect(abs(result.throughputPerS - 180 / 9.1) < 0.01, "\(result.throughputPerS)")
  }

  /// What ends while the fleet is filled or runs dry is not what it does when it is kept busy.
  @Test func efficiencyIsOfTheTimeInWhichAllIsBusy() {
    // Two images every 0.1 s, the first after 1 s, the last at 10.9 s.
    let outcomes = (0..<100).map { outcome($0, at: Double($0) / 10, takes: 1) }
    var settings = LoadRun.Settings(pattern: .poisson(rate: 1), mix: mix([""]), duration: 10, warmUp: 2, seed: 1)
    settings.idealPerSecond = 25
    let record = LoadRecord(outcomes: outcomes, histories: [], occupancy: [], solo: [1], start: 0, seconds: 11)
    let result = LoadReport(record, of: settings, pattern: "test")
    #expect(result.steadyPerS == 20 && result.efficiency == 0.8, "\(String(describing: result.steadyPerS))")
  }

  @Test func aHopIsWhatAStageAddsToItsSteps() {
    let outcomes = (0..<10).map { outcome($0, at: Double($0), takes: 0.1 + Double($0) / 1_000) }
    var settings = LoadRun.Settings(pattern: .poisson(rate: 1), mix: mix([""]), duration: 10, warmUp: 0, seed: 1)
    let history = JobHistory(number: 0, kind: 0, acceptedUnixMilliseconds: 0, stages: ["a", "b"], attempts: [])
    let record = LoadRecord(outcomes: outcomes, histories: [history], occupancy: [], solo: [1], start: 0, seconds: 11)
    #expect(LoadReport(record, of: settings, pattern: "test").hopMs == nil)
    settings.computeMilliseconds = 90
    // 10 to 19 ms more than the steps, in two stages.
    let hops = LoadReport(record, of: settings, pattern: "test").hopMs
    #expect(hops?.count == 10 && abs((hops?.mean ?? 0) - 7.25) < 0.02 && abs((hops?.max ?? 0) - 9.5) < 0.02, "\(String(describing: hops))")
  }

  @Test func endsAreCounted() {
    let ends: [JobOutcome.End] = [.done, .failed, .expired, .cancelled, .refused(retryAfter: 5), .refused(retryAfter: nil), .lost("x")]
    let jobs = report(ends.enumerated().map { outcome($0, at: 0, takes: 0.1, $1) }, mix([""])).jobs
    #expect(jobs.submitted == 7 && jobs.done == 1 && jobs.failed == 1 && jobs.expired == 1 && jobs.cancelled == 1 && jobs.lost == 1)
    #expect(jobs.refused == 2 && jobs.refusedWithRetryAfter == 1)
  }

  @Test func stagesComeFromHistories() throws {
    func attempt(_ stage: UInt32, _ number: UInt32, _ from: UInt64, _ to: UInt64, _ state: JobState) -> Attempt {
      Attempt(
        sample: 0, stage: stage, number: number, worker: "w", numerics: "n", startedUnixMilliseconds: 1_000_000 + from,
        endedUnixMilliseconds: 1_000_000 + to, state: state, lastStep: 10, stepMilliseconds: 4)
    }
    let history = JobHistory(
      number: 0, kind: 0, acceptedUnixMilliseconds: 1_000_000, stages: ["a", "b"],
      attempts: [attempt(1, 1, 130, 230, .done), attempt(0, 2, 60, 110, .done), attempt(0, 1, 20, 50, .failed)])
    let result = report([outcome(0, at: 0, takes: 0.23)], mix([""]), histories: [history])
    let (a, b) = (try #require(result.stages["a"]), try #require(result.stages["b"]))
    #expect(a.attempts == 2 && a.failedAttempts == 1 && a.computeMs.p50 == 50 && a.queueMs.max >= 20 && a.queueMs.max < 20.1)
    #expect(b.queueMs.p50 >= 20 && b.queueMs.p50 < 20.1 && b.computeMs.count == 1 && b.stepMs == 4)
    #expect(a.utilisation == 0.5 && a.fill == 0.25)
    // Three attempts of ten steps of 4 ms for one image.
    #expect(abs((result.stepSecondsPerImage ?? 0) - 0.12) < 1e-9)
    #expect(result.strips.count == 3 && result.strips.allSatisfy { $0.from >= 0 && $0.to < 0.3 && $0.from < $0.to })
  }

  /// The attempt to blame is the first one whose result is not the reference's, whatever came of it after.
  @Test func blameGoesToTheFirstWrongStage() {
    func digest(_ byte: UInt8) -> [UInt8] { Array(repeating: byte, count: 32) }
    func attempt(_ stage: UInt32, _ number: UInt32, _ digest: [UInt8]?) -> Attempt {
      Attempt(
        sample: 7, stage: stage, number: number, worker: "w\(stage).\(number)", numerics: "n", startedUnixMilliseconds: 1,
        state: digest == nil ? .failed : .done, digest: digest)
    }
    let reference = Reference(digests: [digest(1), digest(2), digest(3)])
    func wrong(_ attempts: [Attempt]) -> WrongImage {
      WrongImage(job: JobID(rawValue: 5), sample: 7, found: digest(9), reference, attempts, stages: ["a", "b", "c"])
    }
    let middle = wrong([attempt(2, 1, digest(9)), attempt(1, 2, digest(8)), attempt(1, 1, nil), attempt(0, 1, digest(1))])
    #expect(middle.stage == "b" && middle.worker == "w1.2" && middle.attempt == 2)
    #expect(middle.expected == String(repeating: "02", count: 32) && middle.found == String(repeating: "08", count: 32))
    let last = wrong([attempt(0, 1, digest(1)), attempt(1, 1, digest(2)), attempt(2, 3, digest(9))])
    #expect(last.stage == "c" && last.attempt == 3)
    // Nothing that was computed was wrong, or nobody knows: nobody is blamed.
    #expect(wrong([attempt(0, 1, digest(1)), attempt(1, 1, digest(2)), attempt(2, 1, digest(3))]).worker == "")
    #expect(wrong([]).stage == "")
  }

  @Test func fairnessIsJains() {
    #expect(LoadReport.jain([5, 5, 5]) == 1 && LoadReport.jain([9, 0, 0]) == 1.0 / 3 && LoadReport.jain([1]) == nil)
  }

  @Test func reportsSurviveJSONAndAreAPage() throws {
    let one = report((0..<30).map { outcome($0, at: Double($0) / 3, takes: 0.2) }, mix(["<a&b>"]))
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    let data = try encoder.encode(LoadResult(repeats: [one, one]))
    let object = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
    for key in ["throughput_per_s", "latency_ms", "stages", "verified", "wrong", "repeats"] { #expect(object[key] != nil, "\(key)") }
    let latency = try #require(object["latency_ms"] as? [String: Any])
    for key in ["p50", "p90", "p99", "p999", "max"] { #expect(latency[key] is Double, "\(key)") }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let back = try decoder.decode(LoadResult.self, from: data)
    #expect(back.repeats.count == 2 && back.median.throughputPerS == one.throughputPerS)

    let page = ReportPage(back).html
    // Well-formed, so that no reader has to guess; and it loads nothing.
    _ = try XMLDocumentCheck(page)
    #expect(!page.contains("http") && !page.contains("<script") && page.contains("<svg"))
  }

  @Test func aChangeHasToBeMoreThanTheNoise() {
    func result(_ times: [Double]) -> LoadResult {
      LoadResult(repeats: times.map { time in report((0..<50).map { outcome($0, at: Double($0) / 5, takes: time) }, mix([""])) })
    }
    func verdict(_ a: [Double], _ b: [Double]) -> LoadComparison.Verdict? {
      LoadComparison(result(a), result(b)).lines.first { $0.name == "latency p50 ms" }?.verdict
    }
    #expect(verdict([0.10, 0.11, 0.12], [0.20, 0.21, 0.22]) == .worse)
    #expect(verdict([0.20, 0.21, 0.22], [0.10, 0.11, 0.12]) == .better)
    #expect(verdict([0.10, 0.21, 0.12], [0.20, 0.21, 0.22]) == .noise)
    #expect(verdict([0.10], [0.20]) == .unknown)
  }
}

/// Every tag that opens closes, in order.
private struct XMLDocumentCheck {
  init(_ page: String) throws {
    let empty: Set<String> = ["meta", "rect", "line", "circle", "polyline", "!DOCTYPE"]
    var open: [String] = []
    for piece in page.split(separator: "<").dropFirst(page.hasPrefix("<") ? 0 : 1) {
      let tag = String(try #require(piece.split(separator: ">", omittingEmptySubsequences: false).first))
      let name = String(tag.drop { $0 == "/" }.prefix { !" />".contains($0) })
      if tag.hasPrefix("/") {
        #expect(open.popLast() == name, "</\(name)>")
      } else if !empty.contains(name), !tag.hasSuffix("/") {
        open.append(name)
      }
    }
    #expect(open.isEmpty, "\(open)")
  }
}
