import Foundation
import Glibc
import SeededRandom
import Synchronization

/// A checkpoint may take so long from the thread that computes to the broker's disk, on a machine with more to do than cores.
private let arrivalMilliseconds = 100

/// Random signals at random moments over a fleet at work: kills and stops of workers and of the broker, and workers that are asked to leave. With
/// an odd seed drafts are in the broker's memory only.
func kills(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let isSynthetic = settings.engine == .synthetic
  let shape = ChaosFleet.Shape(
    perStage: 2, stepMilliseconds: 5, slots: 2, threads: 1, deadMilliseconds: isSynthetic ? 600 : 1_500, checkpointMilliseconds: 200,
    brokerOptions: settings.seed.isMultiple(of: 2) ? [] : ["--drafts-in-memory", "64MiB"])
  // A worker that loads networks needs longer to be at work again.
  let pauses = isSynthetic ? 50...600 : 300...1_500
  let diary = Diary()
  var settings = settings
  settings.log = { [log = settings.log] line in
    diary.note(line)
    log(line)
  }
  let (count, seed) = (settings.kills, settings.seed)
  return try await ChaosFleet.with(settings, shape) { fleet in
    let report = try await fleet.loaded(steps: fleet.steps([150, 100, 50], cascade: [40, 30, 12]), concurrency: 4) { _ in
      var random = SplitMix64(seed: seed)
      while diary.signals.count < count {
        try await Task.sleep(for: .milliseconds(Int.random(in: pauses, using: &random)))
        let name = fleet.processes.randomElement(using: &random) ?? "broker"
        let blow = Diary.Blow.random(&random)
        let time = Diary.now
        guard await fleet.signal(name, blow.signal) else { continue }
        diary.note(Diary.Signal(process: name, at: time, blow: blow))
        if case .stop(let pause) = blow {
          Task {
            try? await Task.sleep(for: pause)
            await fleet.signal(name, SIGCONT)
          }
        }
      }
    }
    let interval = shape.checkpointMilliseconds + arrivalMilliseconds
    var (worst, allowedThen) = (0, 0)
    for loss in report.losses {
      let outage = diary.outage(before: loss, interval: interval)
      let least = try await fleet.leastStepMilliseconds(of: loss.stage)
      let allowed = Int(Double(interval) / least) + Int((Double(outage) / least).rounded(.up))
      try expect(
        loss.steps <= allowed,
        "\(loss.steps) steps were lost at once; \(allowed) are allowed, of \(least) ms or more in a checkpoint interval of \(interval) ms and "
          + "\(outage) ms without a broker: \(loss.what); before that, in ms: \(diary.account(of: loss))")
      if outage == 0, loss.steps > worst { (worst, allowedThen) = (loss.steps, allowed) }
    }
    let signals = diary.signals
    return [
      "signals": Double(signals.count), "stops": Double(signals.count { $0.blow.pause != nil }),
      "asked_to_leave": Double(signals.count { $0.blow == .leave }), "broker": Double(signals.count { $0.process == "broker" }),
      "images": Double(report.images), "repeated_attempts": Double(report.repeats), "lost_steps_worst": Double(worst),
      "lost_steps_allowed": Double(allowedThen),
    ]
  }
}

/// Who got a signal when, and when workers found a broker. Times are milliseconds of the wall clock, as the broker's are.
private final class Diary: Sendable {
  enum Blow: Hashable, Sendable {
    case kill
    /// SIGTERM: it may hand back what it has.
    case leave
    case stop(Duration)

    static func random(_ random: inout SplitMix64) -> Self {
      let chance = random.unit()
      // Sometimes longer than a lease lasts.
      if chance < 0.3 { return .stop(.milliseconds(Int.random(in: 50...1_200, using: &random))) }
      return chance < 0.5 ? .leave : .kill
    }

    var signal: Int32 {
      switch self {
      case .kill: SIGKILL
      case .leave: SIGTERM
      case .stop: SIGSTOP
      }
    }

    var pause: Duration? { if case .stop(let pause) = self { pause } else { nil } }
  }

  struct Signal: Sendable {
    let process: String
    let at: UInt64
    let blow: Blow
  }

  private struct Pages {
    var signals: [Signal] = []
    /// By worker.
    var returns: [String: [UInt64]] = [:]
  }

  private let pages = Mutex(Pages())

  static var now: UInt64 { UInt64(Date.now.timeIntervalSince1970 * 1_000) }

  var signals: [Signal] { pages.withLock { $0.signals } }

  func note(_ signal: Signal) { pages.withLock { $0.signals.append(signal) } }

  /// A line that a process of the fleet printed.
  func note(_ line: String) {
    guard line.contains("back with the broker") || line.contains(" | ready "), let name = line.split(separator: " ").first else { return }
    pages.withLock { $0.returns[String(name), default: []].append(Self.now) }
  }

  /// What happened to the worker and to the broker in the seconds before a loss.
  func account(of loss: Loss) -> String {
    pages.withLock { pages in
      let span = loss.endedUnixMilliseconds - min(loss.endedUnixMilliseconds, 4_000)...loss.endedUnixMilliseconds
      let hits = pages.signals.filter { span.contains($0.at) && ["broker", loss.worker].contains($0.process) }
        .map { (at: $0.at, what: "\($0.process): \($0.blow)") }
      let returns = (pages.returns[loss.worker] ?? []).filter(span.contains).map { (at: $0, what: "it is with the broker") }
      return (hits + returns).sorted { $0.at < $1.at }.map { "\(loss.endedUnixMilliseconds - $0.at) \($0.what)" }.joined(separator: ", ")
    }
  }

  /// How long there was no broker for a worker before it was hit itself: what it did then nobody could keep.
  ///
  /// - Parameter interval: of checkpoints, in milliseconds. If they were together for no longer, that counts as well.
  func outage(before loss: Loss, interval: Int) -> UInt64 {
    let interval = UInt64(interval)
    return pages.withLock { pages in
      guard let death = pages.signals.last(where: { $0.process == loss.worker && $0.at <= loss.endedUnixMilliseconds })?.at else {
        return 0
      }
      var begin = death
      for hit in pages.signals.reversed() where hit.process == "broker" && hit.at <= begin {
        var end = pages.returns[loss.worker]?.first { $0 > hit.at } ?? begin
        if let pause = hit.blow.pause {
          // It may have gone on before anyone missed it.
          let resumed = hit.at + UInt64(pause / .milliseconds(1))
          if end > resumed + 1_500 { end = resumed }
        }
        if min(end, begin) + interval >= begin { begin = hit.at }
      }
      return death - begin
    }
  }
}
