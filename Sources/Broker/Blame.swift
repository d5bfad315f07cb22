import DequeModule
import Wire

/// Failures that were counted against tasks because their worker was lost: if it comes back after all, they were not its end. What is
/// remembered is bounded in tasks and in time.
struct Blame {
  /// A worker that is away for longer is not coming back.
  private static let milliseconds: Int64 = 600_000

  private struct Loss {
    var time: Int64
    var tasks: [TaskRef]
  }

  let maxTasks: Int
  private var losses: [WorkerIdentity: Loss] = [:]
  /// In the order of their losses. A worker that came back, or was lost again since, is in it too.
  private var order: Deque<(time: Int64, worker: WorkerIdentity)> = []
  /// Tasks of all.
  private(set) var count = 0

  /// - Parameter maxTasks: of all lost workers together.
  init(maxTasks: Int) { self.maxTasks = maxTasks }

  mutating func note(_ worker: WorkerIdentity, _ tasks: [TaskRef], at now: Int64) {
    _ = take(worker)
    guard !tasks.isEmpty else { return }
    losses[worker] = Loss(time: now, tasks: tasks)
    order.append((now, worker))
    count += tasks.count
    forget(before: now - Self.milliseconds)
  }

  /// The tasks that a worker was lost with. They are forgotten.
  mutating func take(_ worker: WorkerIdentity) -> [TaskRef] {
    guard let tasks = losses.removeValue(forKey: worker)?.tasks else { return [] }
    count -= tasks.count
    return tasks
  }

  /// Forgets what is too old, and of the rest the oldest while it is too much.
  mutating func forgetOld(at now: Int64) { forget(before: now - Self.milliseconds) }

  private mutating func forget(before time: Int64) {
    while let first = order.first, first.time <= time || count > maxTasks || losses[first.worker]?.time != first.time {
      order.removeFirst()
      if losses[first.worker]?.time == first.time { _ = take(first.worker) }
    }
    // One that comes and goes leaves an entry each time.
    if order.count > 2 * losses.count + 64 { order.removeAll { losses[$0.worker]?.time != $0.time } }
  }
}
