/// Which of a worker's stages takes the next step: the one with most tasks for its slots, for there a step gets most done; of equals the last, so
/// that what is begun gets finished. None is passed over often, so that none of its tasks seems to be stuck.
struct StageTurns {
  static let patience = 4

  private var passedOver: [Int]

  init(stages: Int) { passedOver = Array(repeating: 0, count: stages) }

  /// - Parameter loads: of each stage, tasks by slots; 0: it has nothing to do.
  /// - Returns: `nil`: none has.
  mutating func next(_ loads: [Double]) -> Int? {
    func rank(_ stage: Int) -> (Int, Double, Int) {
      (passedOver[stage] >= Self.patience ? passedOver[stage] : 0, loads[stage], stage)
    }
    let busy = loads.indices.filter { loads[$0] > 0 }
    guard let next = busy.max(by: { rank($0) < rank($1) }) else { return nil }
    for stage in loads.indices { passedOver[stage] = stage == next || loads[stage] == 0 ? 0 : passedOver[stage] + 1 }
    return next
  }
}
