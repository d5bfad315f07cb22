import ArgumentParser
import Client
import Foundation
import Load

struct RunCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Submits jobs to a broker at a rate, or as fast as it takes them, and measures what comes of it.",
    discussion: """
      In an open loop (all patterns but closed) a job's time counts from when it should have been submitted. The same seed gives the same \
      arrivals, jobs and images.

      --mix takes JSON, every field of a job optional: {"jobs": [{"name": "big", "weight": 1, "tenant": "a", "priority": "low", "count": 16, \
      "label": "clay", "deadline": 30, "steps": {"base32": 40}, "hold_after": "base32", "keep": 2}]}. --trace takes CSV, \
      \(ArrivalTrace.header), which 'weir-load record' makes of a broker's journal.

      Before the first run a job of each kind is run alone three times: what is done within three times that is goodput.

      --verify compares images, after the run, with what they have to be, byte for byte: those of the synthetic engine, or with --pipeline \
      those that weir-lab, which lies beside this program, draws of the same samples one by one. A wrong one is named with the stage that \
      went wrong, the worker and the attempt.

      Exit status: 0 all was as it should be, 1 an image was wrong or could not be compared, or a job was lost, 2 wrong arguments, 4 broker \
      unreachable.
      """)

  enum Pattern: String, ExpressibleByArgument, CaseIterable { case closed, constant, poisson, gamma, burst, ramp, trace }

  @Option(help: ArgumentHelp("The broker's endpoint; default: $WEIR_BROKER or tcp://127.0.0.1:7710.", valueName: "endpoint"))
  var broker: String?

  @Option(help: ArgumentHelp("For a broker with keys: your own, a .key_secret file; default: $WEIR_KEY_FILE.", valueName: "file"))
  var keyFile: String?

  @Option(help: ArgumentHelp("The broker's public key, or its .key file; default: $WEIR_BROKER_KEY.", valueName: "key"))
  var brokerKey: String?

  @OptionGroup(title: "A fleet of its own") var fleet: FleetOptions

  @Option(help: "How jobs arrive: closed, constant, poisson, gamma, burst, ramp or trace.")
  var pattern = Pattern.closed

  @Option(help: "Jobs open at a time, if the pattern is closed.")
  var concurrency = 8

  @Option(help: ArgumentHelp("Jobs a second; for a ramp FROM..TO.", valueName: "rate"))
  var rate: String?

  @Option(help: "Of the gamma distribution of the gaps: below 1 bunches, above 1 steadier.")
  var shape = 0.5

  @Option(help: "Jobs of a burst.")
  var burst = 10

  @Option(help: ArgumentHelp("How long jobs are submitted.", valueName: "seconds"))
  var duration = 30.0

  @Option(help: ArgumentHelp("What is submitted in the first seconds does not count; default: a tenth.", valueName: "seconds"))
  var warmUp: Double?

  @Option(help: ArgumentHelp("Jobs' labels by name or number; default: any.", valueName: "label"))
  var label: String?

  @Option(help: "Samples of a job.")
  var count: UInt32 = 1

  @Option(help: ArgumentHelp("Steps of stages: base32=20,sr64=10; default: the pipeline's.", valueName: "list"))
  var steps: String?

  @Option(help: ArgumentHelp("What jobs ask for, in place of --label, --count and --steps.", valueName: "file"))
  var mix: String?

  @Option(help: ArgumentHelp("Arrivals as they were, for the pattern trace.", valueName: "file"))
  var trace: String?

  @Option(help: "What is random comes from it.")
  var seed: UInt64 = 1

  @Option(help: "Runs, with the seeds SEED, SEED + 1, …")
  var repeats = 1

  @Flag(help: "Compare images with the reference, byte for byte.")
  var verify = false

  @Option(help: ArgumentHelp("Of a fleet with networks: the workers' pipeline, for --verify.", valueName: "folder"))
  var pipeline: String?

  @Option(
    help: ArgumentHelp("The part of the images that --verify compares; a network's take as long again as they took.", valueName: "part"))
  var share = "100%"

  @Option(help: ArgumentHelp("The broker's process, to measure what it uses.", valueName: "pid"))
  var brokerPid: Int32?

  @Option(help: ArgumentHelp("Write the figures there as JSON; -: to standard output.", valueName: "file"))
  var json: String?

  @Option(help: ArgumentHelp("Write a page with plots there.", valueName: "file"))
  var html: String?

  @Flag(help: "No line a second on standard error.")
  var quiet = false

  /// Connections that jobs are submitted by.
  private static let clients = 32

  func validate() throws {
    guard duration > 0, duration <= 1e6 else { throw ValidationError("--duration \(duration): give seconds, above 0.") }
    guard (0..<duration).contains(warmUp ?? 0) else { throw ValidationError("--warm-up \(warmUp ?? 0): it has to end before --duration.") }
    guard concurrency >= 1, concurrency <= 100_000 else { throw ValidationError("--concurrency \(concurrency): give 1 to 100000.") }
    guard shape > 0, shape <= 1_000 else { throw ValidationError("--shape \(shape): give a number above 0, up to 1000.") }
    guard burst >= 1, burst <= 100_000 else { throw ValidationError("--burst \(burst): give 1 to 100000.") }
    guard count >= 1 else { throw ValidationError("--count 0: ask for at least one sample.") }
    guard repeats >= 1 else { throw ValidationError("--repeats \(repeats): give at least 1.") }
    guard mix == nil || (label == nil && count == 1 && steps == nil) else {
      throw ValidationError("--mix says what jobs ask for: leave out --label, --count and --steps.")
    }
    guard (pattern == .trace) == (trace != nil) else { throw ValidationError("--trace FILE and --pattern trace go together.") }
    guard pattern == .closed || pattern == .trace || rate != nil else {
      throw ValidationError("--rate is missing: jobs a second\(pattern == .ramp ? ", as FROM..TO" : "").")
    }
    guard pipeline == nil || verify else { throw ValidationError("--pipeline is for --verify.") }
    guard fleet.workers == nil || (broker == nil && keyFile == nil && brokerKey == nil && brokerPid == nil && pipeline == nil) else {
      throw ValidationError(
        "--workers starts a fleet with the synthetic engine: --broker, its keys, --broker-pid and --pipeline are of one that runs.")
    }
    _ = try rates()
    _ = try stepCounts()
    _ = try shareOfImages()
  }

  func run() async throws {
    let plan = try fleet.plan(seed: seed)
    do {
      guard let plan else { return try await measure(nil) }
      if plan.machines > 0 { try OwnNetwork.enter() }
      let isQuiet = quiet
      try await OwnFleet.with(plan, log: { if !isQuiet { note($0) } }, { try await measure((fleet: $0, plan: plan)) })
    } catch let error as ClientError {
      note("weir-load: \(error)")
      throw ExitCode(error.code == .unreachable ? 4 : 1)
    }
  }

  private func measure(_ own: (fleet: OwnFleet, plan: OwnFleet.Plan)?) async throws {
    var settings: LoadRun.Settings
    let clients: [WeirClient]
    do {
      settings = try self.settings()
      let environment = ProcessInfo.processInfo.environment
      let endpoint = own?.fleet.endpoint ?? broker ?? environment["WEIR_BROKER"] ?? "tcp://127.0.0.1:7710"
      let keys = try ClientKeys.chosen(keyFile: keyFile, brokerKey: brokerKey, environment: environment)
      clients = try (0..<Self.clients).map { _ in try WeirClient(broker: endpoint, keys: keys) }
    } catch {
      throw ValidationError("\(error)")
    }
    if let own {
      settings.brokerPID = own.fleet.brokerPID
      if settings.mix.kinds.count == 1, let kind = settings.mix.kinds.first {
        settings.idealPerSecond = own.plan.idealPerSecond(steps: kind.steps)
        settings.computeMilliseconds = kind.count == 1 ? own.plan.computeMilliseconds(steps: kind.steps) : nil
      }
      settings.meanwhile = { try await own.fleet.cutAsPlanned() }
    }
    var reports: [LoadReport] = []
    for run in 0..<repeats {
      settings.seed = seed &+ UInt64(run)
      let isQuiet = quiet
      let load = LoadRun(settings, clients: clients) { progress in if !isQuiet { note(progress.line) } }
      reports.append(LoadReport(try await load.run(), of: settings, pattern: description))
    }
    let result = LoadResult(repeats: reports)
    if let json {
      let data = try JSONEncoder.report.encode(result)
      if json == "-" { FileHandle.standardOutput.write(data + Data("\n".utf8)) } else { try data.write(to: URL(fileURLWithPath: json)) }
    }
    if let html { try Data(ReportPage(result).html.utf8).write(to: URL(fileURLWithPath: html)) }
    if json != "-" { print(result.text) }
    for reason in Set(result.repeats.flatMap { $0.lostBecause ?? [] }).sorted().prefix(5) { print("LOST: \(reason)") }
    for image in result.repeats.flatMap(\.wrongImages).prefix(20) { print("WRONG: \(image.text)") }
    if result.wrong > 0 || result.missing > 0 || result.repeats.contains(where: { $0.jobs.lost > 0 }) { throw ExitCode(1) }
  }

  private func settings() throws -> LoadRun.Settings {
    var mix: JobMix
    if let file = self.mix {
      mix = try JSONDecoder().decode(JobMix.self, from: Data(contentsOf: URL(fileURLWithPath: file)))
    } else {
      var kind = JobMix.Kind()
      kind.label = label
      kind.count = count
      kind.steps = try stepCounts()
      mix = JobMix(kinds: [kind])
    }
    let (low, high) = try rates()
    let arrivals: ArrivalPattern
    switch pattern {
    case .closed: arrivals = .closed(concurrency: concurrency)
    case .constant: arrivals = .constant(rate: low)
    case .poisson: arrivals = .poisson(rate: low)
    case .gamma: arrivals = .gamma(rate: low, shape: shape)
    case .burst: arrivals = .burst(rate: low, size: burst)
    case .ramp: arrivals = .ramp(from: low, to: high)
    case .trace: (mix, arrivals) = try ArrivalTrace(csv: String(contentsOfFile: trace ?? "", encoding: .utf8)).load
    }
    var verifier: (any Verifier)?
    if verify {
      verifier = try pipeline.map { LabVerifier(executables: try ProgramFolder.path(), pipeline: $0) } ?? SyntheticVerifier()
    }
    return LoadRun.Settings(
      pattern: arrivals, mix: mix, duration: duration, warmUp: warmUp ?? duration / 10, seed: seed, verifier: verifier,
      verifiedShare: try shareOfImages(), brokerPID: brokerPid)
  }

  private func shareOfImages() throws -> Double {
    guard share.hasSuffix("%"), let percent = Double(share.dropLast()), percent > 0, percent <= 100 else {
      throw ValidationError("--share \(share): write it like 10%, above 0%, up to 100%.")
    }
    return percent / 100
  }

  private var description: String {
    switch pattern {
    case .closed: "closed, \(concurrency) at a time"
    case .constant, .poisson: "\(pattern.rawValue), \(rate ?? "") jobs/s"
    case .gamma: "gamma of shape \(shape), \(rate ?? "") jobs/s"
    case .burst: "bursts of \(burst), \(rate ?? "") jobs/s"
    case .ramp: "ramp, \(rate ?? "") jobs/s"
    case .trace: "trace"
    }
  }

  private func rates() throws -> (Double, Double) {
    guard let rate else { return (1, 1) }
    let parts = rate.components(separatedBy: "..").map { Double($0) ?? .nan }
    guard parts.count == (pattern == .ramp ? 2 : 1), parts.allSatisfy({ $0 > 0 && $0 <= 1e6 }) else {
      throw ValidationError("--rate \(rate): give jobs a second\(pattern == .ramp ? ", as FROM..TO, each above 0" : ", above 0").")
    }
    return (parts[0], parts[parts.count - 1])
  }

  private func stepCounts() throws -> [String: UInt32] {
    var counts: [String: UInt32] = [:]
    for item in steps?.split(separator: ",") ?? [] {
      let parts = item.split(separator: "=").map(String.init)
      guard parts.count == 2, let count = UInt32(parts[1]), count > 0 else {
        throw ValidationError("--steps \(item): write it like base32=20,sr64=10.")
      }
      counts[parts[0]] = count
    }
    return counts
  }
}

private func note(_ line: String) { FileHandle.standardError.write(Data("\(line)\n".utf8)) }

extension LoadProgress {
  fileprivate var line: String {
    func milliseconds(_ part: Double) -> String {
      latencies.isEmpty ? "–" : "\(Int(latencies[min(latencies.count - 1, Int(Double(latencies.count) * part))] * 1_000)) ms"
    }
    let fills = fill.sorted { $0.key < $1.key }.map { "\($0.key) \(Int($0.value * 100)) %" }.joined(separator: "  ")
    return
      "\(Int(seconds)) s  \(imagesPerSecond) images/s  p50 \(milliseconds(0.5))  p99 \(milliseconds(0.99))  \(open) open  \(refused) refused  "
      + fills
  }
}

extension LoadResult {
  /// For a terminal.
  fileprivate var text: String {
    let report = median
    func short(_ value: Double) -> String { "\((value * 100).rounded() / 100)" }
    var lines = [
      "\(short(report.throughputPerS)) images/s, \(short(report.tasksPerS)) tasks/s; \(short(report.steadyPerS ?? 0)) images/s while busy",
      "latency ms: p50 \(short(report.latencyMs.p50))  p90 \(short(report.latencyMs.p90))  p99 \(short(report.latencyMs.p99))  "
        + "p99.9 \(short(report.latencyMs.p999))  max \(short(report.latencyMs.max))",
      "jobs: \(report.jobs.submitted) submitted, \(report.jobs.done) done, \(report.jobs.refused) refused, \(report.jobs.expired) expired, "
        + "\(report.jobs.failed) failed, \(report.jobs.lost) lost; \(short(report.goodput * 100)) % within 3 x alone",
    ]
    for (name, stage) in report.stages.sorted(by: { $0.key < $1.key }) {
      lines.append(
        "\(name): queue p50 \(short(stage.queueMs.p50)) p99 \(short(stage.queueMs.p99)) ms, compute p50 \(short(stage.computeMs.p50)) p99 "
          + "\(short(stage.computeMs.p99)) ms, slots \(short(stage.fill * 100)) % filled, \(stage.failedAttempts) of \(stage.attempts) attempts failed"
      )
    }
    if let broker = report.broker {
      lines.append(
        "broker: \(short(broker.cpuUsPerTask)) µs a task, \(short(broker.cpu * 100)) % of a core, \(short(broker.residentMib)) MiB")
    }
    if let met = report.deadlineAttainment { lines.append("deadlines met: \(short(met * 100)) %") }
    if let fairness = report.fairness { lines.append("fairness (Jain, in work): \(short(fairness))") }
    if let hop = report.hopMs {
      lines.append("a stage adds to its steps: p50 \(short(hop.p50)) ms, p99 \(short(hop.p99)) ms")
    }
    if let efficiency = report.efficiency, let ideal = report.idealPerS {
      lines.append("pipeline efficiency: \(short(efficiency * 100)) % of the slowest stage's \(short(ideal)) images/s")
    }
    if let knee = report.kneePerS { lines.append("knee: \(short(knee)) jobs/s") }
    if report.verified > 0 { lines.append("verified: \(report.verified) images, \(report.wrong) wrong") }
    if let missing = report.missing { lines.append("not verified: \(missing) images or jobs that the broker has forgotten") }
    if repeats.count > 1 {
      let rates = repeats.map(\.throughputPerS)
      lines.append("over \(repeats.count) runs: \(short(rates.min() ?? 0)) to \(short(rates.max() ?? 0)) images/s")
    }
    return lines.joined(separator: "\n")
  }
}
