import Foundation
import Glibc
import Testing
import Wire

@testable import Load

/// The page in a browser, which has to find nothing wrong with it.
@Suite(.enabled(if: Chromium.path != nil, "needs a browser, such as Debian's chromium-headless-shell")) struct ReportPageTests {
  private func report() -> LoadReport {
    var outcomes: [JobOutcome] = []
    for number in 0..<600 {
      let time = Double(number) / 10
      let takes = 0.2 + (number.isMultiple(of: 7) ? 0.3 : 0) + Double(number) / 2_000
      let end: JobOutcome.End = number.isMultiple(of: 50) ? .refused(retryAfter: 100) : .done
      outcomes.append(
        JobOutcome(
          number: number, kind: number % 2, samples: 1, intended: time, submitted: time, accepted: time + 0.01, ended: time + takes,
          end: end,
          job: JobID(rawValue: UInt64(number) + 1)))
    }
    let stages = ["base32", "sr64", "sr256"]
    let histories = (550..<600).map { number in
      JobHistory(
        number: number, kind: 0, acceptedUnixMilliseconds: UInt64(number * 100), stages: stages,
        attempts: stages.indices.map { stage in
          let begin = UInt64(number * 100 + stage * 60)
          return Attempt(
            sample: 0, stage: UInt32(stage), number: 1, worker: "\(stages[stage])-<1>", numerics: "n", startedUnixMilliseconds: begin,
            endedUnixMilliseconds: begin + 55, state: .done, lastStep: 5, stepMilliseconds: 11)
        })
    }
    let occupancy = (0..<240).flatMap { moment in
      stages.map { StageOccupancy(time: Double(moment) / 4, stage: $0, workers: 2, slots: 8, running: moment % 8, busyWorkers: moment % 3) }
    }
    let kinds = ["small & quick", "large"].map { name in
      var kind = JobMix.Kind()
      kind.name = name
      return kind
    }
    let record = LoadRecord(outcomes: outcomes, histories: histories, occupancy: occupancy, solo: [0.2, 0.2], start: 0, seconds: 61)
    let settings = LoadRun.Settings(
      pattern: .ramp(from: 1, to: 20), mix: JobMix(kinds: kinds), duration: 60, warmUp: 5, seed: 1)
    return LoadReport(record, of: settings, pattern: "ramp, 1..20 jobs/s")
  }

  @Test func showsAllPlotsWithoutComplaint() async throws {
    let page = ReportPage(LoadResult(repeats: [report(), report()])).html
    let (document, complaints) = try await Chromium.load(page)
    #expect(complaints.isEmpty, "\(complaints)")
    // Throughput, latency over time, by percentile and over load, running tasks, and the strips: none of them empty, each with its shapes.
    let plots = document.components(separatedBy: "<svg").dropFirst()
    #expect(plots.count == 6 && !document.contains("Nothing."), "\(plots.count)")
    for plot in plots { #expect(plot.contains("<polyline") || plot.contains("<circle") || plot.contains("<rect"), "\(plot.prefix(200))") }
  }

  /// Or the test above could not fail.
  @Test func whatABrowserFindsWrongIsSeen() async throws {
    let page = ReportPage(LoadResult(repeats: [report()])).html.replacing("<polyline points=\"", with: "<polyline points=\"oops ")
    let (_, complaints) = try await Chromium.load(page)
    #expect(!complaints.isEmpty)
  }
}

private enum Chromium {
  /// Of those that `ops/test` looks for.
  static let path = ["chromium", "chromium-headless-shell", "chromium-browser", "google-chrome"].lazy.flatMap { name in
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map { "\($0)/\(name)" }
  }.first { FileManager.default.isExecutableFile(atPath: $0) }

  /// Opens a page without a screen.
  ///
  /// - Returns: the document as the browser has it, and what it wrote to its console.
  static func load(_ page: String) async throws -> (document: String, complaints: [String]) {
    let folder = FileManager.default.temporaryDirectory.appending(path: "weir-page-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appending(path: "page.html")
    try Data(page.utf8).write(to: file)
    let (output, errors) = (folder.appending(path: "output"), folder.appending(path: "errors"))
    for path in [output, errors] { try Data().write(to: path) }
    let browser = Process()
    browser.executableURL = URL(fileURLWithPath: try #require(path))
    browser.arguments = [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
      "--user-data-dir=\(folder.path)/profile",
      "--dump-dom", file.absoluteString,
    ]
    browser.standardOutput = try FileHandle(forWritingTo: output)
    browser.standardError = try FileHandle(forWritingTo: errors)
    try browser.run()
    browser.waitUntilExit()
    let said = try String(contentsOf: errors, encoding: .utf8).split(separator: "\n").map(String.init)
    try #require(browser.terminationStatus == 0, "\(said)")
    return (try String(contentsOf: output, encoding: .utf8), said.filter { $0.contains("CONSOLE") })
  }
}
