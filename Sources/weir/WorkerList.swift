package import LocalFleet

/// `weir up --workers base32=1,sr64=2`, or `base32+sr64=2` for workers that serve both.
package enum WorkerList {
  private static let most = 256

  /// - Returns: What was asked for, and one worker for each stage that no list names; in the pipeline's order.
  package static func parse(_ lists: [String], stages: [String]) throws(UsageError) -> [FleetPlan.StageWorkers] {
    var workers: [FleetPlan.StageWorkers] = []
    for (names, text) in try StageOptionList.pairs(lists, flag: "--workers", example: "base32=1,sr64=2", stageNeeded: true) {
      let group = names.split(separator: "+", omittingEmptySubsequences: false).map(String.init)
      for stage in group where !stages.contains(stage) {
        throw UsageError("--workers: the pipeline has no stage '\(stage)'; its stages are \(stages.joined(separator: ", "))")
      }
      guard Set(group).count == group.count else { throw UsageError("--workers \(names)=\(text): a stage is named twice") }
      guard let count = Int(text), (0...most).contains(count) else {
        throw UsageError("--workers \(names)=\(text): give 0 (its workers run elsewhere) to \(most)")
      }
      workers.append(FleetPlan.StageWorkers(stages: stages.filter { group.contains($0) }, count: count))
    }
    for stage in stages where !workers.contains(where: { $0.stages.contains(stage) }) {
      workers.append(FleetPlan.StageWorkers(stages: [stage], count: 1))
    }
    func place(_ workers: FleetPlan.StageWorkers) -> Int { stages.firstIndex { $0 == workers.stages.first } ?? 0 }
    return workers.sorted { place($0) < place($1) }
  }
}
