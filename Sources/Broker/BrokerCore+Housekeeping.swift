import Logging
import Wire

extension BrokerCore {
  private var housekeepingInterval: Int64 { max(1, Int64(limits.beatMilliseconds) / 2) }

  /// Makes room; a job that is not finished is never forgotten.
  mutating func forgetOldJobs() {
    let end = limits.keptMilliseconds.map { unixNow - min(unixNow, $0) } ?? 0
    for old in jobs.forget(samples: limits.keptSamples, bytes: limits.keptBytes, endedBefore: end) {
      actions.append(.persist(.forgotten(old)))
    }
  }

  /// Beats, and looks for workers and tasks that fell silent.
  mutating func keepHouse() {
    excuseOwnAbsence()
    nextHousekeeping = now + housekeepingInterval
    forgetOldJobs()
    for worker in workers.all {
      if now - worker.lastHeard >= Int64(limits.deadMilliseconds) {
        bury(worker.peer, because: "silent for \(now - worker.lastHeard) ms")
        actions.append(.command(worker.peer, .disconnect(reason: "the broker heard nothing for \(limits.deadMilliseconds) ms")))
      } else if now - worker.lastSent >= housekeepingInterval {
        send(.beat, to: worker.peer)
      }
    }
    for task in leases.stalled(since: now - Int64(limits.stallMilliseconds)) {
      guard let lease = leases[task] else { continue }
      log(.warning, "\(TaskRef(task, attempt: lease.attempt)) took no step for \(limits.stallMilliseconds) ms; it is queued again")
      revokeLease(task)
      release(task, failed: "no step in \(limits.stallMilliseconds) ms")
    }
    for task in leases.abandoned(at: now) {
      if case .nobody(_, let lost) = leases[task]?.holder { release(task, failed: lost) }
    }
  }

  /// If the broker itself was stopped for a while, nobody could be heard in that time: it does not count as their silence.
  private mutating func excuseOwnAbsence() {
    let late = now - nextHousekeeping
    guard late > housekeepingInterval else { return }
    workers.updateAll { $0.lastHeard += late }
    leases.excuse(late)
  }
}
