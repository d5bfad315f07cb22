/// Columns of text under a header.
package struct Table {
  package enum Side { case left, right }

  private let header: [(title: String, side: Side)]
  private var rows: [[String]] = []

  package init(_ header: [(title: String, side: Side)]) { self.header = header }

  package mutating func add(_ row: [String]) { rows.append(row.map(printable)) }

  /// A line a row; columns are as wide as their widest cell, two spaces apart.
  package var lines: [String] {
    let widths = header.indices.map { column in ([header[column].title] + rows.map { $0[column] }).map(\.count).max() ?? 0 }
    return ([header.map(\.title)] + rows).map { row in
      let cells = header.indices.map { padded(row[$0], widths[$0], left: header[$0].side == .right) }
      let line = cells.joined(separator: "  ")
      return String(line.reversed().drop { $0 == " " }.reversed())
    }
  }
}
