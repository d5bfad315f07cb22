/// By nearest rank.
func quantile(_ part: Double, of values: [Double]) -> Double {
  let sorted = values.sorted()
  return sorted[max(0, Int((part * Double(sorted.count)).rounded(.up)) - 1)]
}
