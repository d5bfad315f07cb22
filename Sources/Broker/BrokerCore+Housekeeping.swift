import Logging
import Wire

extension BrokerCore {
  private var housekeepingInterval: Int64 { max(1, Int64(limits.beatMilliseconds) / 2) }

  /// Makes room; a job that is not finished is never forgotten.
  mutating func forgetOldJobs() {
    let end = limits.keptMilliseconds.map { unixNow - min(unixNow, $0) } ?? 0
    for old in jobs.forget(samples: limits.keptSamples, bytes: limits.keptBytes, endedBefore: end) {
      actions.append(.persist(.forgotten(old)))
      for task in quarantine.disputes.keys where task.job == old {
        dropLease(task)
        quarantine.drop(task)
      }
    }
  }

  /// Beats, and looks for workers and tasks that fell silent.
  mutating func keepHouse() {
    excuseOwnAbsence()
    nextHousekeeping = now + housekeepingInterval
    forgetOldJobs()
    blame.forgetOld(at: now)
    watches.noteQuiet(at: now, since: limits.quietMilliseconds)
    for worker in workers.all {
      if now - worker.lastHeard >= Int64(limits.deadMilliseconds) {
        bury(worker.peer, because: "silent for \(now - worker.lastHeard) ms")
        actions.append(.command(worker.peer, .disconnect(reason: "the broker heard nothing for \(limits.deadMilliseconds) ms")))
      } else if now - worker.lastSent >= housekeepingInterval {
        send(.beat, to: worker.peer)
      }
    }
    excuseWaiting()
    for (task, patience) in stalled() {
      guard let lease = leases[task] else { continue }
      let ref = TaskRef(task, attempt: lease.attempt)
      log(.warning, "\(ref) took no step for \(patience) ms; it is queued again")
      if lease.isTrial {
        takeBack(task)
        continue
      }
      // It isn't revoked: what becomes of it tells when its worker takes steps again.
      if let peer = lease.worker, let step = jobs[task.job]?.samples[Int(task.sample)].step {
        workers.update(peer) { $0.stalled[ref] = step }
      }
      release(task, failed: "no step in \(patience) ms")
    }
    expireHopeless()
    for task in leases.abandoned(at: now) {
      if case .nobody(_, let lost) = leases[task]?.holder { release(task, failed: lost) }
    }
  }

  /// Tasks that take too long over a step, and how long that is. Sorted, so that a run can be replayed.
  private func stalled() -> [(TaskID, Int64)] {
    leases.all.compactMap { task, lease in
      guard let peer = lease.worker, let worker = workers[peer] else { return nil }
      let patience = patience(with: worker)
      return now - lease.lastProgress >= patience ? (task, patience) : nil
    }.sorted { TaskID.isOlder($0.0, $1.0) }
  }

  /// Tasks given ahead that take no step because others fill their worker's slots. Whatever becomes of it, they are not to blame.
  func waiting(at worker: Worker) -> Set<TaskID> {
    guard worker.leases.count > Int(worker.hello.slots) else { return [] }
    let begun = worker.leases.filter { leases[$0]?.hasBegun == true }
    return begun.count >= Int(worker.hello.slots) ? worker.leases.subtracting(begun) : []
  }

  private func excuseWaiting() {
    for worker in workers.all {
      for task in waiting(at: worker) { leases[task]?.excuse(until: now) }
    }
  }

  /// How long a task of this worker may take over a step: a long step is not a dead worker.
  func patience(with worker: Worker) -> Int64 {
    guard let milliseconds = passTimes.milliseconds(worker.stage, numerics: worker.hello.numerics) else {
      return Int64(limits.stallMilliseconds)
    }
    // A pass is measured per sample, and made by the whole batch.
    let passes = worker.leases.map { jobs[$0.job]?.options[Int($0.stage)].passesOfStep ?? 1 }.max() ?? 1
    let step = milliseconds * Double(max(1, min(worker.leases.count, Int(worker.hello.slots))) * passes)
    return max(Int64(limits.leastStallMilliseconds), Int64(limits.stallSteps * step))
  }

  /// If the broker itself was stopped for a while, nobody could be heard in that time: it does not count as their silence.
  private mutating func excuseOwnAbsence() {
    let late = now - nextHousekeeping
    guard late > housekeepingInterval else { return }
    workers.updateAll { $0.lastHeard += late }
    leases.excuse(late)
  }
}
