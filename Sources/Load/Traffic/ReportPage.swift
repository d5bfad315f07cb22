/// A load test as one HTML page that needs nothing else: no network, no scripts.
package struct ReportPage: Sendable {
  private let result: LoadResult

  package init(_ result: LoadResult) { self.result = result }

  package var html: String {
    let report = result.median
    let colours = Dictionary(uniqueKeysWithValues: zip(report.stages.keys.sorted(), Self.palette + Self.palette + Self.palette))
    return """
      <!DOCTYPE html>
      <html lang="en"><head><meta charset="utf-8"><title>weir-load</title><style>\(Self.style)</style></head><body>
      <h1>weir-load: \(escaped(report.pattern))</h1>
      <p>\(result.repeats.count) run\(result.repeats.count == 1 ? "" : "s") of \(number(report.duration)) s, the first \(number(report.warmUp)) s not \
      counted, seed \(report.seed)\(result.repeats.count == 1 ? "" : "; shown is the run of median throughput").</p>
      \(summary(report))
      <h2>Throughput and offered load</h2>
      \(throughput(report))
      <h2>Latency over time</h2>
      \(latency(report))
      <h2>Latency by percentile</h2>
      <p>1 nine is p90, 2 are p99, 3 are p99.9.</p>
      \(percentiles(report))
      \(knee(report))
      <h2>Running tasks by stage</h2>
      \(running(report, colours))
      <h2>Stages</h2>
      \(stages(report))
      <h2>The last seconds, worker by worker</h2>
      \(strips(report, colours))
      </body></html>

      """
  }

  // MARK: Sections

  private func summary(_ report: LoadReport) -> String {
    func spread(_ value: (LoadReport) -> Double) -> String {
      let values = result.repeats.map(value)
      guard values.count > 1, let low = values.min(), let high = values.max() else { return "" }
      return "\(number(low))–\(number(high))"
    }
    var rows = [
      ["images/s", number(report.throughputPerS), spread(\.throughputPerS)],
      ["images/s while busy", number(report.steadyPerS ?? .nan), spread { $0.steadyPerS ?? .nan }],
      ["latency p50", "\(number(report.latencyMs.p50)) ms", spread(\.latencyMs.p50)],
      ["latency p99", "\(number(report.latencyMs.p99)) ms", spread(\.latencyMs.p99)],
      ["done within 3 × alone", "\(number(report.goodput * 100)) %", spread { $0.goodput * 100 }],
      [
        "jobs", "\(report.jobs.done) done of \(report.jobs.submitted)",
        "\(report.jobs.refused) refused, \(report.jobs.expired) expired, \(report.jobs.failed) failed, \(report.jobs.lost) lost",
      ],
      ["images compared with the oracle", "\(report.verified)", "\(report.wrong) wrong"],
    ]
    if let hop = report.hopMs {
      rows.append(["a stage adds to its steps", "\(number(hop.p50)) ms", "p99 \(number(hop.p99)) ms: queues, hand-overs, commits"])
    }
    if let efficiency = report.efficiency, let ideal = report.idealPerS {
      rows.append(["pipeline efficiency", "\(number(efficiency * 100)) %", "of \(number(ideal)) images/s, the slowest stage's"])
    }
    if let met = report.deadlineAttainment { rows.append(["deadlines met", "\(number(met * 100)) %", ""]) }
    if let fairness = report.fairness { rows.append(["fairness (Jain, in work)", number(fairness), ""]) }
    if let seconds = report.stepSecondsPerImage { rows.append(["step-seconds an image", number(seconds), ""]) }
    if let broker = report.broker {
      rows.append([
        "broker", "\(number(broker.cpuUsPerTask)) µs a task", "\(number(broker.cpu * 100)) % of a core, \(number(broker.residentMib)) MiB",
      ])
    }
    for image in report.wrongImages.prefix(20) {
      rows.append(["wrong", image.text, ""])
    }
    return table(["", "", result.repeats.count == 1 ? "" : "all runs"], rows)
  }

  private func throughput(_ report: LoadReport) -> String {
    Plot(
      x: "s", y: "a second",
      lines: [
        .init("jobs offered", Self.palette[1], report.timeline.map { (Double($0.second), Double($0.offered)) }),
        .init("images finished", Self.palette[0], report.timeline.map { (Double($0.second), Double($0.images)) }),
        .init("jobs refused", Self.palette[2], report.timeline.map { (Double($0.second), Double($0.refused)) }),
      ]
    ).svg
  }

  private func latency(_ report: LoadReport) -> String {
    Plot(
      x: "s", y: "ms",
      lines: [
        .init("p50", Self.palette[0], report.timeline.compactMap { second in second.p50Ms.map { (Double(second.second), $0) } }),
        .init("p99", Self.palette[2], report.timeline.compactMap { second in second.p99Ms.map { (Double(second.second), $0) } }),
      ]
    ).svg
  }

  private func percentiles(_ report: LoadReport) -> String {
    let colours = Self.palette + Self.palette + Self.palette
    let kinds = report.kinds.filter { $0.latencyMs.count > 0 }.prefix(colours.count)
    return Plot(
      x: "nines", y: "ms",
      lines: zip(kinds, colours).map { kind, colour in
        let times = kind.latencyMs
        return .init(
          "\(kind.name) (alone \(number(kind.soloMs)) ms)", colour, [(0.301, times.p50), (1, times.p90), (2, times.p99), (3, times.p999)])
      }
    ).svg
  }

  private func knee(_ report: LoadReport) -> String {
    guard report.pattern.hasPrefix("ramp") else { return "" }
    let points = report.timeline.filter { $0.p50Ms != nil && $0.offered > 0 }
    let text = report.kneePerS.map { "It falls behind from \(number($0)) jobs/s on." } ?? "It never fell behind."
    return """
      <h2>Latency over load</h2><p>\(text)</p>
      \(Plot(
        x: "jobs offered a second", y: "p50, ms",
        lines: [.init("", Self.palette[0], points.map { (Double($0.offered), $0.p50Ms ?? 0) }.sorted { $0.0 < $1.0 })], isScattered: true).svg)
      """
  }

  private func running(_ report: LoadReport, _ colours: [String: String]) -> String {
    Plot(
      x: "s", y: "tasks",
      lines: report.stages.keys.sorted().map { stage in
        .init(stage, colours[stage] ?? "", report.timeline.map { (Double($0.second), $0.running[stage] ?? 0) })
      }
    ).svg
  }

  private func stages(_ report: LoadReport) -> String {
    table(
      ["stage", "workers", "busy", "slots filled", "queue p50", "queue p99", "compute p50", "compute p99", "step", "attempts", "failed"],
      report.stages.sorted { $0.key < $1.key }.map { name, stage in
        [
          name, number(stage.workers), "\(number(stage.utilisation * 100)) %", "\(number(stage.fill * 100)) %",
          "\(number(stage.queueMs.p50)) ms",
          "\(number(stage.queueMs.p99)) ms", "\(number(stage.computeMs.p50)) ms", "\(number(stage.computeMs.p99)) ms",
          stage.stepMs.map { "\(number($0)) ms" } ?? "–", "\(stage.attempts)", "\(stage.failedAttempts)",
        ]
      })
  }

  private func strips(_ report: LoadReport, _ colours: [String: String]) -> String {
    let workers = Array(Set(report.strips.map(\.worker))).sorted()
    guard let from = report.strips.map(\.from).min(), let to = report.strips.map(\.to).max(), to > from else { return "<p>Nothing.</p>" }
    let (left, width, row) = (150.0, 830.0, 18.0)
    var shapes = ""
    for (index, worker) in workers.enumerated() {
      let y = Double(index) * row
      shapes += "<text x=\"\(left - 8)\" y=\"\(y + 13)\" text-anchor=\"end\">\(escaped(worker))</text>"
      for strip in report.strips where strip.worker == worker {
        let x = left + (strip.from - from) / (to - from) * width
        let length = max(0.5, (strip.to - strip.from) / (to - from) * width)
        shapes +=
          "<rect x=\"\(number(x))\" y=\"\(y + 3)\" width=\"\(number(length))\" height=\"\(row - 5)\" fill=\"\(colours[strip.stage] ?? "gray")\" "
          + "fill-opacity=\"0.35\"><title>\(escaped(strip.stage)), \(number((strip.to - strip.from) * 1_000)) ms</title></rect>"
      }
    }
    return
      "<svg viewBox=\"0 0 1000 \(Double(workers.count) * row + 20)\">\(shapes)</svg><p>Tasks of the jobs whose history was asked for.</p>"
  }

  private func table(_ head: [String], _ rows: [[String]]) -> String {
    let header = head.allSatisfy(\.isEmpty) ? "" : "<tr>\(head.map { "<th>\(escaped($0))</th>" }.joined())</tr>"
    return "<table>\(header)\(rows.map { "<tr>\($0.map { "<td>\(escaped($0))</td>" }.joined())</tr>" }.joined())</table>"
  }

  // MARK: Looks

  private static let palette = ["#0b7285", "#868e96", "#c92a2a", "#5f3dc4", "#e67700", "#2b8a3e"]

  private static let style = """
    :root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}\
    table{border-collapse:collapse}td,th{white-space:nowrap;padding:.15em .9em .15em 0;text-align:left}td{font-variant-numeric:tabular-nums}\
    svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:currentColor}h2{margin-top:1.6em}
    """
}

/// Lines over a number, as SVG.
private struct Plot {
  struct Line {
    var name: String
    var colour: String
    var points: [(Double, Double)]

    init(_ name: String, _ colour: String, _ points: [(Double, Double)]) {
      self.name = name
      self.colour = colour
      self.points = points
    }
  }

  var x: String
  var y: String
  var lines: [Line]
  var isScattered = false

  var svg: String {
    let points = lines.flatMap(\.points)
    guard let low = points.map(\.0).min(), let high = points.map(\.0).max() else { return "<p>Nothing.</p>" }
    let top = ticks(points.map(\.1).max() ?? 1).last ?? 1
    let (left, width, height) = (60.0, 920.0, 220.0)
    func place(_ point: (Double, Double)) -> (Double, Double) {
      (left + (point.0 - low) / max(1e-9, high - low) * width, 10 + height - point.1 / top * height)
    }
    var shapes = ""
    for tick in ticks(top) {
      let y = place((low, tick)).1
      shapes +=
        "<line x1=\"\(left)\" x2=\"\(left + width)\" y1=\"\(number(y))\" y2=\"\(number(y))\" stroke=\"currentColor\" stroke-opacity=\"0.15\"/>"
      shapes += "<text x=\"\(left - 6)\" y=\"\(number(y + 4))\" text-anchor=\"end\">\(number(tick))</text>"
    }
    for step in 0...5 {
      let value = low + (high - low) * Double(step) / 5
      shapes += "<text x=\"\(number(place((value, 0)).0))\" y=\"\(height + 28)\" text-anchor=\"middle\">\(number(value))</text>"
    }
    shapes += "<text x=\"\(left)\" y=\"\(height + 46)\">\(escaped(y)) over \(escaped(x))</text>"
    for (index, line) in lines.enumerated() {
      let places = line.points.map(place)
      if isScattered {
        shapes += places.map { "<circle cx=\"\(number($0.0))\" cy=\"\(number($0.1))\" r=\"2.5\" fill=\"\(line.colour)\"/>" }.joined()
      } else {
        let path = places.map { "\(number($0.0)),\(number($0.1))" }.joined(separator: " ")
        shapes += "<polyline points=\"\(path)\" fill=\"none\" stroke=\"\(line.colour)\" stroke-width=\"1.8\"/>"
      }
      guard !line.name.isEmpty else { continue }
      let at = left + 220 + Double(index) * 190
      shapes += "<rect x=\"\(at)\" y=\"\(height + 37)\" width=\"14\" height=\"10\" fill=\"\(line.colour)\"/>"
      shapes += "<text x=\"\(at + 20)\" y=\"\(height + 46)\">\(escaped(line.name))</text>"
    }
    return "<svg viewBox=\"0 0 1000 \(height + 56)\">\(shapes)</svg>"
  }

  /// Round numbers from 0 to at least `top`.
  private func ticks(_ top: Double) -> [Double] {
    guard top > 0, top.isFinite else { return [0, 1] }
    var unit = 1.0
    while unit * 10 <= top { unit *= 10 }
    while unit > top { unit /= 10 }
    let step = [0.2, 0.5, 1, 2].map { $0 * unit }.first { top / $0 <= 6 } ?? 2 * unit
    return (0...Int((top / step).rounded(.up))).map { Double($0) * step }
  }
}

/// To three digits.
private func number(_ value: Double) -> String {
  guard value.isFinite else { return "–" }
  var scale = 1.0
  while abs(value) * scale < 100, scale < 1_000 { scale *= 10 }
  let rounded = (value * scale).rounded() / scale
  return rounded == rounded.rounded() && abs(rounded) < 1e15 ? "\(Int64(rounded))" : "\(rounded)"
}

private func escaped(_ text: String) -> String {
  text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;").replacing("\"", with: "&quot;")
}
