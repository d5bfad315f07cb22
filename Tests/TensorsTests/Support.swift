import Tensors
import Testing

/// What counts live handles or changes the thread count does so in a process of its own: both are process-wide, and other
/// modules' tests run beside these.
@Suite struct TensorsTests {}

/// splitmix64, so that test inputs are the same everywhere.
struct SeededNumbers {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// In [low, high).
  mutating func float(_ low: Float = -1, _ high: Float = 1) -> Float {
    low + (high - low) * Float(next() >> 40) / Float(1 << 24)
  }

  mutating func floats(_ count: Int, _ low: Float = -1, _ high: Float = 1) -> [Float] {
    (0..<count).map { _ in float(low, high) }
  }

  mutating func tensor(_ shape: [Int], _ low: Float = -1, _ high: Float = 1) throws -> Tensor {
    try Tensor(floats(shape.reduce(1, *), low, high), shape: shape)
  }
}

func expectClose(
  _ actual: [Float], _ expected: [Float], within tolerance: Float, _ label: String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
  guard actual.count == expected.count else {
    Issue.record("\(label): \(actual.count) elements, expected \(expected.count)", sourceLocation: sourceLocation)
    return
  }
  for (index, pair) in zip(actual, expected).enumerated() where !(abs(pair.0 - pair.1) <= tolerance) {
    Issue.record(
      "\(label): element \(index) is \(pair.0), expected \(pair.1) within \(tolerance)", sourceLocation: sourceLocation)
    return
  }
}

func expectClose(
  _ actual: Tensor, _ expected: [Float], within tolerance: Float = 1e-6, _ label: String = "",
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  expectClose(try actual.floats(), expected, within: tolerance, label, sourceLocation: sourceLocation)
}
