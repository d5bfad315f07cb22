/// Timers by deadline; those of one deadline in the order they were set.
struct TimerQueue {
  private struct Timer {
    let deadline: ContinuousClock.Instant
    let id: UInt64
    let body: () -> Void
  }

  /// Last to fire first, so that firing is cheap.
  private var timers: [Timer] = []
  /// Of the timer that was set last; ids count up.
  private(set) var lastID: UInt64 = 0

  /// When the first one is due.
  var next: ContinuousClock.Instant? { timers.last?.deadline }

  mutating func insert(at deadline: ContinuousClock.Instant, _ body: @escaping () -> Void) -> UInt64 {
    lastID += 1
    var low = 0
    var high = timers.count
    while low < high {
      let middle = (low + high) / 2
      if timers[middle].deadline > deadline { low = middle + 1 } else { high = middle }
    }
    timers.insert(Timer(deadline: deadline, id: lastID, body: body), at: low)
    return lastID
  }

  mutating func remove(_ id: UInt64) {
    timers.removeAll { $0.id == id }
  }

  /// The first timer that is due, if it isn't newer than the one with this id.
  mutating func popDue(_ now: ContinuousClock.Instant, upTo newest: UInt64) -> (() -> Void)? {
    guard let index = timers.lastIndex(where: { $0.id <= newest }), timers[index].deadline <= now else { return nil }
    return timers.remove(at: index).body
  }
}
