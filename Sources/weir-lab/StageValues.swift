import Cascade

/// A flag's values a stage: `STAGE=VALUE,…` or, where `stages` is given, a bare `VALUE` for all of those that are not named.
struct StageValues<Value> {
  private(set) var values: [String: Value] = [:]

  init(_ flag: String, _ items: [String], stages: [String]?, parse: (String) -> Value?) throws(CascadeError) {
    var everywhere: Value?
    for item in items.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false) }) {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard let text = parts.last, let value = parse(text), !text.isEmpty, parts.count == 2 || stages != nil, parts[0] != "" else {
        throw CascadeError(.options, "\(flag) \"\(item)\": write STAGE=VALUE\(stages == nil ? "" : ", or a VALUE for every stage")")
      }
      if parts.count == 2 {
        guard values.updateValue(value, forKey: parts[0]) == nil else {
          throw CascadeError(.options, "\(flag) names stage \(parts[0]) twice")
        }
      } else {
        guard everywhere == nil else { throw CascadeError(.options, "\(flag) is given twice for every stage") }
        everywhere = value
      }
    }
    guard let everywhere, let stages else { return }
    for stage in stages where values[stage] == nil { values[stage] = everywhere }
  }
}
