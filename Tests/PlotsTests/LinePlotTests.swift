import Foundation
import Plots
import Testing

@Suite struct LinePlotTests {
  /// What the SVG text contains, so many times.
  private func count(_ part: String, in plot: LinePlot) -> Int { plot.svg.components(separatedBy: part).count - 1 }

  @Test func everyPointIsInside() throws {
    let plot = LinePlot(
      title: "a < b & c", xName: "steps", yName: "KID",
      series: [
        .init(name: "one", points: [(4, 0.03), (250, 0.001), (16, 0.2)]), .init(name: "two", points: [(8, 0)]),
        .init(name: "none", points: [(0, 1), (3, .nan), (.infinity, 1)]),
      ])
    #expect(count("<polyline", in: plot) == 2 && count("<circle", in: plot) == 4)
    #expect(plot.svg.contains("a &lt; b &amp; c"))
    for match in plot.svg.matches(of: /cx="([^"]*)" cy="([^"]*)"/) {
      let (x, y) = (try #require(Double(match.1)), try #require(Double(match.2)))
      #expect((70...700).contains(x) && (40...370).contains(y), "\(match.0)")
    }
    // From left to right, by x.
    let xs = plot.svg.matches(of: /cx="([^"]*)"/).prefix(3).compactMap { Double($0.1) }
    #expect(xs == xs.sorted())
  }

  @Test func nothingToDrawIsAPictureToo() {
    for series in [[], [LinePlot.Series(name: "one", points: [])], [LinePlot.Series(name: "one", points: [(5, 0)])]] {
      let svg = LinePlot(title: "", xName: "", yName: "", series: series).svg
      #expect(svg.hasPrefix("<svg") && svg.contains("</svg>") && !svg.contains("nan") && !svg.contains("inf"))
    }
  }
}
