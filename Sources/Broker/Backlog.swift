import Wire

/// The work of open jobs, by stage and by whose it is.
struct Backlog {
  struct Work: Hashable {
    /// Samples that wait for a worker of the stage, and those that have one.
    var waiting = 0
    var leased = 0
    /// Passes through the stage's network that are still to be made, also by samples that have not come to it yet.
    var passes = 0

    static func - (a: Self, b: Self) -> Self {
      Self(waiting: a.waiting - b.waiting, leased: a.leased - b.leased, passes: a.passes - b.passes)
    }

    static func += (a: inout Self, b: Self) {
      a.waiting += b.waiting
      a.leased += b.leased
      a.passes += b.passes
    }
  }

  private struct Stage {
    var total = Work()
    var shares: [Share: Work] = [:]

    mutating func add(_ change: Work, _ share: Share) {
      total += change
      guard let index = shares.index(forKey: share) else {
        if change != Work() { shares[share] = change }
        return
      }
      shares.values[index] += change
      if shares.values[index] == Work() { shares.remove(at: index) }
    }
  }

  private var stages: [StageKey: Stage] = [:]

  /// Stages with work.
  var count: Int { stages.count }

  /// Of everybody together.
  subscript(stage: StageKey) -> Work { stages[stage]?.total ?? Work() }

  subscript(stage: StageKey, share: Share) -> Work { stages[stage]?.shares[share] ?? Work() }

  func shares(_ stage: StageKey) -> [Share: Work] { stages[stage]?.shares ?? [:] }

  mutating func add(_ change: Work, _ stage: StageKey, _ share: Share) {
    guard let index = stages.index(forKey: stage) else {
      var new = Stage()
      new.add(change, share)
      if !new.shares.isEmpty { stages[stage] = new }
      return
    }
    stages.values[index].add(change, share)
    if stages.values[index].shares.isEmpty { stages.remove(at: index) }
  }
}
