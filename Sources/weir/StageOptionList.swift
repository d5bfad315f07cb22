package import Wire

/// The sampler flags of a command line, as options a stage.
package enum StageOptionList {
  /// - Parameters:
  ///   - steps: `base32=20,sr64=15`
  ///   - sampler: `NAME` for every stage, or `STAGE=NAME,…`
  ///   - eta: `X` for every stage, or `STAGE=X,…`
  ///   - aug: `sr64=100,…`
  ///   - guidance: `W` for every stage that can be guided, or `STAGE=W,…`
  /// - Returns: In the order in which the stages are first named. Options for every stage come first, under the empty name.
  package static func parse(
    steps: [String], sampler: [String], eta: [String], aug: [String], guidance: [String] = []
  ) throws(UsageError) -> [StageOptions] {
    var options: [StageOptions] = []
    func update(_ stage: String, _ body: (inout StageOptions) -> Void) {
      if let index = options.firstIndex(where: { $0.stage == stage }) {
        body(&options[index])
      } else {
        var added = StageOptions(stage: stage)
        body(&added)
        options.append(added)
      }
    }
    for (stage, text) in try pairs(steps, flag: "--steps", example: "base32=20,sr64=15", stageNeeded: true) {
      guard let value = UInt32(text), value > 0 else { throw UsageError("--steps \(stage)=\(text): steps are a number from 1 on") }
      update(stage) { $0.steps = value }
    }
    for (stage, text) in try pairs(sampler, flag: "--sampler", example: "ddim or sr64=ddpm", stageNeeded: false) {
      update(stage) { $0.sampler = text }
    }
    for (stage, text) in try pairs(eta, flag: "--eta", example: "0.5 or sr64=0.5", stageNeeded: false) {
      guard let value = Double(text), value >= 0, value <= 1 else { throw UsageError("--eta \(text): eta is a number from 0 to 1") }
      update(stage) { $0.eta = value }
    }
    for (stage, text) in try pairs(aug, flag: "--aug", example: "sr64=100", stageNeeded: true) {
      guard let value = UInt32(text) else { throw UsageError("--aug \(stage)=\(text): the level is a number from 0 (no augmentation) on") }
      update(stage) { $0.aug = value }
    }
    for (stage, text) in try pairs(guidance, flag: "--guidance", example: "2 or base32=2", stageNeeded: false) {
      guard let value = Double(text), value >= 0, value <= 100 else {
        throw UsageError("--guidance \(text): the weight is a number from 0 to 100; 1 is none")
      }
      update(stage) { $0.guidance = value }
    }
    return options.filter { $0.stage.isEmpty } + options.filter { !$0.stage.isEmpty }
  }

  /// `NAME=VALUE,…` or, where no stage is needed, a bare `VALUE` for every stage, under the empty name.
  package static func pairs(
    _ lists: [String], flag: String, example: String, stageNeeded: Bool
  ) throws(UsageError) -> [(name: String, value: String)] {
    var found: [(name: String, value: String)] = []
    for item in lists.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false) }) {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      let (name, value) = parts.count == 2 ? (parts[0], parts[1]) : ("", String(item))
      guard !value.isEmpty, parts.count == 1 ? !stageNeeded : !name.isEmpty else {
        throw UsageError("\(flag) '\(item)' makes no sense: write it like \(flag) \(example)")
      }
      guard !found.contains(where: { $0.name == name }) else {
        throw UsageError("\(flag) is given twice for \(name.isEmpty ? "every stage" : "'\(name)'")")
      }
      found.append((name, value))
    }
    return found
  }
}
