package import Wire

/// How a job's progress reads.
package struct ProgressText: Hashable, Sendable {
  /// Of the terminal, in columns.
  package var width: Int
  package var color: Bool
  /// Block characters; false: ASCII only.
  package var unicode: Bool

  package init(width: Int, color: Bool, unicode: Bool) {
    self.width = width
    self.color = color
    self.unicode = unicode
  }

  /// One line about the job and a bar for each stage; no line is longer than the width.
  package func bars(_ status: JobStatus, seconds: Int) -> [String] {
    let names = status.stages.map { printable($0.stage) }
    let nameWidth = names.map(\.count).max() ?? 0
    let total = String(status.samples)
    // "name [bar] done/total 100%"
    let room = width - nameWidth - 2 * total.count - 9
    let head = Self.headline(status, seconds: seconds)
    return [String(head.prefix(max(0, width)))]
      + zip(names, status.stages).map { name, stage in
        let label = padded(name, nameWidth)
        let count = padded(String(stage.done), total.count, left: true)
        let share = padded("\(Self.percent(stage))%", 4, left: true)
        guard room >= 4 else { return String("\(label) \(count)/\(total) \(share)".prefix(max(0, width))) }
        return "\(label) \(bar(stage, columns: min(room, 60))) \(count)/\(total) \(share)"
      }
  }

  /// The whole state in one line, for logs.
  package static func line(_ status: JobStatus, seconds: Int) -> String {
    let stages = status.stages.map { stage in
      var text = "\(printable(stage.stage)) \(stage.done)/\(status.samples)"
      if stage.held > 0 { text += " (\(stage.held) held)" }
      if stage.running > 0 { text += " (\(stage.running) running)" }
      if stage.failed > 0 { text += " (\(stage.failed) failed)" }
      return "\(text) \(percent(stage))%"
    }
    return ([headline(status, seconds: seconds)] + stages).joined(separator: " | ")
  }

  static func headline(_ status: JobStatus, seconds: Int) -> String {
    let failed = status.stages.map { Int($0.failed) }.reduce(0, +)
    let samples = status.samples == 1 ? "1 sample" : "\(status.samples) samples"
    let failures = failed > 0 ? ", \(failed) failed" : ""
    return "job \(status.job)  \(status.state.word)  \(samples), \(status.finishedSamples) done\(failures)  \(clock(seconds))"
  }

  /// Of the stage's steps, rounded down: 100 only when all are done.
  static func percent(_ stage: StageStatus) -> Int {
    guard stage.stepsTotal > 0 else { return stage.queued + stage.running == 0 && stage.done > 0 ? 100 : 0 }
    return Int(Double(min(stage.stepsDone, stage.stepsTotal)) / Double(stage.stepsTotal) * 100)
  }

  /// "0:07", "12:30", "1:02:03".
  static func clock(_ seconds: Int) -> String {
    let two = { (number: Int) in number < 10 ? "0\(number)" : "\(number)" }
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60)
    return hours > 0 ? "\(hours):\(two(minutes)):\(two(rest))" : "\(minutes):\(two(rest))"
  }

  private func bar(_ stage: StageStatus, columns: Int) -> String {
    let share =
      stage.stepsTotal > 0 ? Double(min(stage.stepsDone, stage.stepsTotal)) / Double(stage.stepsTotal) : Double(Self.percent(stage)) / 100
    let filled = min(columns, Int(share * Double(columns)))
    let (full, empty) = unicode ? ("█", "░") : ("#", "-")
    let (done, rest) = (String(repeating: full, count: filled), String(repeating: empty, count: columns - filled))
    guard color else { return done + rest }
    let hue = stage.failed > 0 ? "\u{1B}[31m" : filled == columns ? "\u{1B}[32m" : "\u{1B}[36m"
    return "\(hue)\(done)\u{1B}[2m\(rest)\u{1B}[0m"
  }
}

extension JobState {
  package var word: String {
    switch self {
    case .queued: "queued"
    case .running: "running"
    case .done: "done"
    case .failed: "failed"
    case .cancelled: "cancelled"
    case .held: "held"
    case .expired: "expired"
    }
  }
}

extension JobStatus {
  /// Samples that passed the last stage.
  package var finishedSamples: UInt32 { stages.last?.done ?? 0 }
}

/// What came over the wire, safe to show on a terminal: control characters become question marks.
package func printable(_ text: String) -> String {
  String(String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
}

package func padded(_ text: String, _ width: Int, left: Bool = false) -> String {
  let space = String(repeating: " ", count: max(0, width - text.count))
  return left ? space + text : text + space
}
