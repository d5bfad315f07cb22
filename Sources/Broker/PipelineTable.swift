import Wire

/// The pipelines that workers announced. Two digests are two pipelines, whatever their name.
struct PipelineTable {
  typealias Key = Int

  struct Entry {
    var info: PipelineInfo
    /// Bytes of each stage's output.
    var outputBytes: [UInt64]
  }

  private var entries: [Key: Entry] = [:]
  private var byDigest: [[UInt8]: Key] = [:]
  private var nextKey: Key = 0

  static let maxStages = 8
  private static let maxLabels = 10_000

  var count: Int { entries.count }
  var keys: [Key] { entries.keys.sorted() }

  subscript(key: Key) -> Entry? { entries[key] }

  func key(forDigest digest: [UInt8]) -> Key? { byDigest[digest] }

  @discardableResult
  mutating func insert(_ info: PipelineInfo) -> Key {
    let key = nextKey
    nextKey += 1
    entries[key] = Entry(info: info, outputBytes: info.stages.map { 12 * UInt64($0.resolution) * UInt64($0.resolution) })
    byDigest[info.digest] = key
    return key
  }

  mutating func remove(_ key: Key) {
    guard let entry = entries.removeValue(forKey: key) else { return }
    byDigest[entry.info.digest] = nil
  }

  /// What is wrong with an announced pipeline, if anything.
  static func fault(in info: PipelineInfo) -> String? {
    if info.name.isEmpty || info.name.utf8.count > 100 { return "a pipeline's name has 1 to 100 bytes" }
    if info.digest.count != 32 { return "a pipeline's digest has 32 bytes, not \(info.digest.count)" }
    if info.labels.isEmpty || info.labels.count > maxLabels { return "a pipeline has 1 to \(maxLabels) labels, not \(info.labels.count)" }
    if info.stages.isEmpty || info.stages.count > maxStages { return "a pipeline has 1 to \(maxStages) stages, not \(info.stages.count)" }
    if Set(info.stages.map(\.name)).count != info.stages.count { return "two stages of the pipeline have the same name" }
    for stage in info.stages {
      if stage.name.isEmpty || stage.name.utf8.count > 100 { return "a stage's name has 1 to 100 bytes" }
      if stage.resolution == 0 || stage.resolution > 2_048 { return "stage \(stage.name): resolution \(stage.resolution) is not in 1…2048" }
      if stage.defaultSteps == 0 || stage.defaultSteps > stage.trainSteps {
        return "stage \(stage.name): \(stage.defaultSteps) default steps are not in 1…\(stage.trainSteps)"
      }
    }
    return nil
  }
}
