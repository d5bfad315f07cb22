import Foundation

/// Curves over numbers of very different sizes, as an SVG picture: x is drawn by its logarithm, y from 0 up.
package struct LinePlot: Sendable {
  package struct Series: Sendable {
    package let name: String
    package let points: [(x: Double, y: Double)]

    package init(name: String, points: [(x: Double, y: Double)]) {
      self.name = name
      self.points = points
    }
  }

  private let title, xName, yName: String
  private let series: [Series]
  private static let (width, height, left, right, top, bottom) = (720.0, 420.0, 70.0, 20.0, 40.0, 50.0)
  private static let colours = ["#1b6ca8", "#d1495b", "#2e933c", "#8e5572", "#e09f3e", "#3d405b", "#00798c", "#7f7f7f"]

  /// - Parameter series: at least one with a point. Points with x ≤ 0 or a value that is not finite are left out.
  package init(title: String, xName: String, yName: String, series: [Series]) {
    self.title = title
    self.xName = xName
    self.yName = yName
    self.series = series.map { one in
      Series(name: one.name, points: one.points.filter { $0.x > 0 && $0.x.isFinite && $0.y.isFinite }.sorted { $0.x < $1.x })
    }
  }

  package var svg: String {
    let points = series.flatMap(\.points)
    let xs = Set(points.map(\.x)).sorted()
    let (low, high) = (log(xs.first ?? 1), log(xs.last ?? 1))
    let step = Self.step(points.map(\.y).max() ?? 1)
    let highest = max(step, ((points.map(\.y).max() ?? 1) / step).rounded(.up) * step)
    let (inner, depth) = (Self.width - Self.left - Self.right, Self.height - Self.top - Self.bottom)
    func x(_ value: Double) -> Double { Self.left + (high > low ? (log(value) - low) / (high - low) : 0.5) * inner }
    func y(_ value: Double) -> Double { Self.top + (1 - max(value, 0) / highest) * depth }
    func number(_ value: Double) -> String { String(format: "%.1f", value) }
    func text(_ words: String, _ x: Double, _ y: Double, _ anchor: String, _ more: String = "") -> String {
      "<text x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\" \(more)>\(Self.escaped(words))</text>"
    }
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" font-family=\"sans-serif\" font-size=\"12\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
      text(title, Self.width / 2, 22, "middle", "font-size=\"15\""),
      text(xName, Self.left + inner / 2, Self.height - 12, "middle"),
      text(yName, 16, Self.top + depth / 2, "middle", "transform=\"rotate(-90 16 \(number(Self.top + depth / 2)))\""),
    ]
    for index in 0...Int((highest / step).rounded()) {
      let value = Double(index) * step
      lines.append(
        "<line x1=\"\(Self.left)\" x2=\"\(Self.width - Self.right)\" y1=\"\(number(y(value)))\" y2=\"\(number(y(value)))\" stroke=\"#dddddd\"/>"
      )
      lines.append(text(Self.short(value), Self.left - 8, y(value) + 4, "end"))
    }
    var lastTick = -Double.infinity
    for value in xs where x(value) - lastTick > 26 {
      lastTick = x(value)
      lines.append(text(Self.short(value), x(value), Self.height - Self.bottom + 18, "middle"))
    }
    for (index, one) in series.enumerated() where !one.points.isEmpty {
      let colour = Self.colours[index % Self.colours.count]
      let path = one.points.map { "\(number(x($0.x))),\(number(y($0.y)))" }.joined(separator: " ")
      lines.append("<polyline points=\"\(path)\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"2\"/>")
      for point in one.points {
        let label = Self.escaped("\(one.name): \(Self.short(point.x)), \(Self.short(point.y))")
        lines.append(
          "<circle cx=\"\(number(x(point.x)))\" cy=\"\(number(y(point.y)))\" r=\"3.5\" fill=\"\(colour)\"><title>\(label)</title></circle>")
      }
      let row = Self.top + 14 + Double(index) * 17
      lines.append("<rect x=\"\(Self.width - 190)\" y=\"\(number(row - 9))\" width=\"12\" height=\"4\" fill=\"\(colour)\"/>")
      lines.append(text(one.name, Self.width - 172, row, "start"))
    }
    return (lines + ["</svg>", ""]).joined(separator: "\n")
  }

  /// 1, 2 or 5 times a power of ten, so that about five fit below `highest`.
  private static func step(_ highest: Double) -> Double {
    guard highest > 0 else { return 1 }
    let power = pow(10, floor(log10(highest / 5)))
    return [1, 2, 5, 10].map { $0 * power }.first { highest / $0 <= 6 } ?? 10 * power
  }

  private static func short(_ value: Double) -> String { String(format: "%.4g", value) }

  private static func escaped(_ words: String) -> String {
    words.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;").replacingOccurrences(
      of: ">", with: "&gt;")
  }
}
