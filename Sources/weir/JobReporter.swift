import Digests
import Foundation
import Wire

/// Tells how a job goes while a command waits for it: bars on a terminal, plain lines elsewhere, JSON lines for programs.
struct JobReporter {
  private enum Mode {
    case bars(Terminal)
    case lines, json
  }

  private let mode: Mode
  private let started = ContinuousClock.now
  private var lastShown: ContinuousClock.Instant?
  /// What the bars show, and how many lines they have.
  private var painted: JobStatus?
  private var shownLines = 0
  private var lastSettled: UInt64?

  /// Bars are painted at most this often.
  private static let paintInterval = Duration.milliseconds(100)
  /// Without a terminal, a line is printed when a sample passes a stage, yet at most this often, …
  private static let lineInterval = Duration.seconds(1)
  /// … and after this long in any case.
  private static let longLineInterval = Duration.seconds(30)

  init(json: Bool) {
    let terminal = Terminal.standardError
    mode = json ? .json : terminal.isInteractive ? .bars(terminal) : .lines
  }

  mutating func progress(_ status: JobStatus) throws {
    let now = ContinuousClock.now
    let quiet = lastShown.map { now - $0 }
    switch mode {
    case .bars(let terminal):
      if let quiet, quiet < Self.paintInterval, !status.state.isFinal { return }
      paint(status, on: terminal)
    case .lines:
      let settled = status.stages.reduce(UInt64(0)) { $0 + UInt64($1.done) + UInt64($1.failed) }
      if let quiet, !status.state.isFinal {
        guard quiet >= Self.longLineInterval || (quiet >= Self.lineInterval && settled != lastSettled) else { return }
      }
      lastSettled = settled
      Output.error(ProgressText.line(status, seconds: seconds(at: now)))
    case .json:
      try JSONLines.write(JSONLines.Job(status, event: status.state.isFinal ? "finished" : "progress", withDetails: status.state.isFinal))
    }
    lastShown = now
  }

  /// - Parameter label: its name, or its number where the name isn't known.
  mutating func saved(_ image: FinishedImage, labelName: String?, at path: String) throws {
    guard case .json = mode else { return above { Output.line(path) } }
    try JSONLines.write(
      JSONLines.Image(
        job: "\(image.job)", sample: image.sample, label: image.label, labelName: labelName, seed: image.seed,
        digest: hex(image.digest), numerics: image.numerics, path: path))
  }

  /// A remark for a person; programs don't get it.
  mutating func note(_ text: String) {
    if case .json = mode { return }
    above { Output.error(printable(text)) }
  }

  /// Prints above the bars.
  private mutating func above(_ print: () -> Void) {
    guard case .bars(let terminal) = mode, let painted else { return print() }
    Output.write("\u{1B}[\(shownLines)A\r\u{1B}[J", STDERR_FILENO)
    shownLines = 0
    print()
    paint(painted, on: terminal)
  }

  private mutating func paint(_ status: JobStatus, on terminal: Terminal) {
    let text = ProgressText(width: terminal.width, color: terminal.color, unicode: terminal.unicode)
    let lines = text.bars(status, seconds: seconds(at: .now))
    let up = shownLines > 0 ? "\u{1B}[\(shownLines)A\r" : ""
    Output.write(up + lines.map { $0 + "\u{1B}[K\n" }.joined() + "\u{1B}[J", STDERR_FILENO)
    shownLines = lines.count
    painted = status
  }

  private func seconds(at now: ContinuousClock.Instant) -> Int { Int((now - started).components.seconds) }
}
