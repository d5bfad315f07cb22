import SeededRandom

/// Values of all kinds.
extension SplitMix64 {
  mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
  mutating func flag() -> Bool { Bool.random(using: &self) }
  mutating func maybe<Value>(_ value: (inout Self) -> Value) -> Value? { flag() ? value(&self) : nil }
  mutating func list<Value>(upTo count: Int, _ value: (inout Self) -> Value) -> [Value] {
    (0..<below(count + 1)).map { _ in value(&self) }
  }
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) } }
  /// Small, any, or the largest.
  mutating func number<Value: FixedWidthInteger & UnsignedInteger>(_: Value.Type = Value.self, from least: Value = 0) -> Value {
    switch below(3) {
    case 0: Value.random(in: least...100, using: &self)
    case 1: Value.random(in: least...Value.max, using: &self)
    default: .max
    }
  }
}
