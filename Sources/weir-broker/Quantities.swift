import ArgumentParser

/// A number of bytes as people write it: 20GB is 20 · 10⁹, 64GiB is 64 · 2³⁰, and a bare number is bytes.
struct ByteCount: ExpressibleByArgument, CustomStringConvertible {
  var bytes: UInt64

  private static let units: [(String, UInt64)] = [
    ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000), ("B", 1), ("", 1),
  ]

  init(bytes: UInt64) { self.bytes = bytes }

  init?(argument: String) {
    guard let bytes = product(argument, Self.units) else { return nil }
    self.bytes = bytes
  }

  var description: String {
    let unit = Self.units.prefix(4).last { bytes >= $0.1 && bytes % $0.1 == 0 } ?? ("B", 1)
    return "\(bytes / unit.1)\(unit.0)"
  }

  var defaultValueDescription: String { description }
}

/// A length of time as people write it: 7d, 12h, 30m, 90s.
struct Age: ExpressibleByArgument {
  var milliseconds: UInt64

  init?(argument: String) {
    let units: [(String, UInt64)] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
    guard let milliseconds = product(argument, units) else { return nil }
    self.milliseconds = milliseconds
  }
}

/// A whole number times the first unit whose name ends the text.
private func product(_ text: String, _ units: [(name: String, size: UInt64)]) -> UInt64? {
  guard let unit = units.first(where: { text.hasSuffix($0.name) }), let number = UInt64(text.dropLast(unit.name.count)) else { return nil }
  let (product, overflow) = number.multipliedReportingOverflow(by: unit.size)
  return overflow ? nil : product
}
