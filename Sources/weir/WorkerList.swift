package import LocalFleet

/// `weir up --workers base32=1,sr64=2`.
package enum WorkerList {
  private static let most = 256

  /// - Returns: For every stage, in the pipeline's order; one worker where none are asked for.
  package static func parse(_ lists: [String], stages: [String]) throws(UsageError) -> [FleetPlan.StageWorkers] {
    var counts = stages.map { FleetPlan.StageWorkers(stage: $0, count: 1) }
    for (stage, text) in try StageOptionList.pairs(lists, flag: "--workers", example: "base32=1,sr64=2", stageNeeded: true) {
      guard let index = stages.firstIndex(of: stage) else {
        throw UsageError("--workers: the pipeline has no stage '\(stage)'; its stages are \(stages.joined(separator: ", "))")
      }
      guard let count = Int(text), (0...most).contains(count) else {
        throw UsageError("--workers \(stage)=\(text): give 0 (its workers run elsewhere) to \(most)")
      }
      counts[index].count = count
    }
    return counts
  }
}
