import Foundation
import Glibc
import Synchronization
import Worker

/// A checkpoint may take so long from the thread that computes to the broker's disk, on a machine with more to do than cores.
private let arrivalMilliseconds = 100

/// Random signals at random moments over a fleet at work: kills and stops of workers and of the broker.
func kills(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let shape = ChaosFleet.Shape(perStage: 2, stepMilliseconds: 5, slots: 2, deadMilliseconds: 600, checkpointMilliseconds: 200)
  let diary = Diary()
  var settings = settings
  settings.log = { [log = settings.log] line in
    diary.note(line)
    log(line)
  }
  let (count, seed) = (settings.kills, settings.seed)
  return try await ChaosFleet.with(settings, shape) { fleet in
    let report = try await fleet.loaded(steps: [150, 100, 50], concurrency: 4) { _ in
      var random = SplitMix64(seed: seed)
      while diary.signals.count < count {
        try await Task.sleep(for: .milliseconds(Int.random(in: 50...600, using: &random)))
        let name = fleet.processes.randomElement(using: &random) ?? "broker"
        // Sometimes longer than a lease lasts.
        let pause = random.unit() < 0.3 ? Duration.milliseconds(Int.random(in: 50...1_200, using: &random)) : nil
        let time = Diary.now
        guard await fleet.signal(name, pause == nil ? SIGKILL : SIGSTOP) else { continue }
        diary.note(Diary.Signal(process: name, at: time, pause: pause))
        if let pause {
          Task {
            try? await Task.sleep(for: pause)
            await fleet.signal(name, SIGCONT)
          }
        }
      }
    }
    let interval = Int(Double(shape.checkpointMilliseconds + arrivalMilliseconds) / shape.stepMilliseconds)
    var worst = 0
    for loss in report.losses {
      let outage = diary.outage(before: loss)
      let allowed = interval + Int((Double(outage) / shape.stepMilliseconds).rounded(.up))
      try expect(
        loss.steps <= allowed,
        "\(loss.steps) steps were lost at once; the \(interval) of a checkpoint interval are allowed, and \(outage) ms without a broker: "
          + loss.what)
      if outage == 0 { worst = max(worst, loss.steps) }
    }
    return [
      "signals": Double(diary.signals.count), "stops": Double(diary.signals.count { $0.pause != nil }),
      "broker": Double(diary.signals.count { $0.process == "broker" }), "images": Double(report.images),
      "repeated_attempts": Double(report.repeats), "lost_steps_worst": Double(worst), "lost_steps_allowed": Double(interval),
    ]
  }
}

/// Who got a signal when, and when workers found a broker. Times are milliseconds of the wall clock, as the broker's are.
private final class Diary: Sendable {
  struct Signal: Sendable {
    let process: String
    let at: UInt64
    /// `nil`: it was killed.
    let pause: Duration?
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

  /// How long there was no broker for a worker when it was hit itself: what it did then nobody could keep.
  func outage(before loss: Loss) -> UInt64 {
    // A worker that comes back has yet to tell how far it is.
    let settling = UInt64(arrivalMilliseconds)
    return pages.withLock { pages in
      guard let death = pages.signals.last(where: { $0.process == loss.worker && $0.at <= loss.endedUnixMilliseconds })?.at else {
        return 0
      }
      var total: UInt64 = 0
      for hit in pages.signals where hit.process == "broker" && hit.at <= death {
        var end = pages.returns[loss.worker]?.first { $0 > hit.at } ?? death
        if let pause = hit.pause {
          // It may have gone on before anyone missed it.
          let resumed = hit.at + UInt64(pause / .milliseconds(1))
          if end > resumed + 1_500 { end = resumed }
        }
        if min(end, death) + settling >= death { total += min(end, death) - hit.at + settling }
      }
      return total
    }
  }
}
