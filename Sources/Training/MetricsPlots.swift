import Foundation
import Plots

/// A run's `metrics.jsonl` as pictures: the loss and the gradient's norm over the steps.
struct MetricsPlots {
  /// Of a curve; more are averaged.
  private static let pointsShown = 60

  private let title: String
  private let lines: [MetricsLog.Line]

  init(title: String, lines: [MetricsLog.Line]) {
    self.title = title
    self.lines = lines
  }

  /// By the files' names.
  var files: [(name: String, svg: String)] {
    guard !lines.isEmpty else { return [] }
    return [
      ("loss.svg", plot("loss", \.loss)), ("grad_norm.svg", plot("norm of the gradient, before clipping", \.gradNorm)),
    ]
  }

  private func plot(_ name: String, _ value: (MetricsLog.Line) -> Double) -> String {
    LinePlot(title: title, xName: "step", yName: name, series: [.init(name: name, points: points(value))]).svg
  }

  /// Means over steps that are near one another on a logarithmic axis.
  private func points(_ value: (MetricsLog.Line) -> Double) -> [(x: Double, y: Double)] {
    guard let first = lines.first, let last = lines.last, first.step > 0 else { return [] }
    let width = max(log(Double(last.step) / Double(first.step)), 1e-9) / Double(Self.pointsShown)
    let groups = Dictionary(grouping: lines) { min(Int(log(Double($0.step) / Double(first.step)) / width), Self.pointsShown - 1) }
    return groups.values.map { group in
      let count = Double(group.count)
      return (group.reduce(0) { $0 + Double($1.step) } / count, group.reduce(0) { $0 + value($1) } / count)
    }
  }
}
