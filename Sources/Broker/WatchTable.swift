import Wire
import ZeroMQ

/// Who is told about which job, and when next.
struct WatchTable {
  struct Watcher: Hashable {
    var peer: PeerID
    var request: UInt64
    /// Who asked; `nil`: the broker works without keys.
    var key: CurvePublicKey?
  }

  private struct Watched {
    var watchers: [Watcher] = []
    var lastSent: Int64
  }

  private var byJob: [JobID: Watched] = [:]
  private var byPeer: [PeerID: [JobID: Int]] = [:]
  private var changed: Set<JobID> = []
  private(set) var count = 0
  /// When the next event is due; `nil`: none is.
  private(set) var nextDue: Int64?

  mutating func add(_ watcher: Watcher, to job: JobID, at now: Int64) {
    var watched = byJob[job] ?? Watched(lastSent: now)
    guard !watched.watchers.contains(watcher) else { return }
    watched.watchers.append(watcher)
    byJob[job] = watched
    byPeer[watcher.peer, default: [:]][job, default: 0] += 1
    count += 1
  }

  /// Watches of one client.
  func count(of peer: PeerID) -> Int { byPeer[peer]?.values.reduce(0, +) ?? 0 }

  /// What did not change for a while is told again: who is gone is noticed when it is sent something.
  mutating func noteQuiet(at now: Int64, since milliseconds: Int64) {
    for (job, watched) in byJob where now - watched.lastSent >= milliseconds {
      changed.insert(job)
      nextDue = now
    }
  }

  mutating func noteChange(_ job: JobID, interval: Int64) {
    guard let watched = byJob[job], changed.insert(job).inserted else { return }
    nextDue = min(nextDue ?? .max, watched.lastSent + interval)
  }

  /// Jobs whose event is due, in the order of their ids, and their watchers.
  mutating func takeDue(at now: Int64, interval: Int64) -> [(JobID, [Watcher])] {
    guard let due = nextDue, due <= now else { return [] }
    nextDue = nil
    var events: [(JobID, [Watcher])] = []
    for job in changed {
      guard let watched = byJob[job] else { continue }
      if watched.lastSent + interval <= now {
        events.append((job, watched.watchers))
        byJob[job]?.lastSent = now
      } else {
        nextDue = min(nextDue ?? .max, watched.lastSent + interval)
      }
    }
    for (job, _) in events { changed.remove(job) }
    return events.sorted { $0.0 < $1.0 }
  }

  /// Ends the watching of a job, and says who watched.
  mutating func remove(_ job: JobID) -> [Watcher] {
    changed.remove(job)
    guard let watched = byJob.removeValue(forKey: job) else { return [] }
    for watcher in watched.watchers {
      byPeer[watcher.peer]?[job] = nil
      if byPeer[watcher.peer]?.isEmpty == true { byPeer[watcher.peer] = nil }
    }
    count -= watched.watchers.count
    return watched.watchers
  }

  /// Ends the watching by some, and says by whom of what, in the order of the jobs.
  mutating func removeAll(where isStale: (JobID, Watcher) -> Bool) -> [(JobID, Watcher)] {
    var removed: [(JobID, Watcher)] = []
    for job in byJob.keys.sorted() {
      let stale = byJob[job]?.watchers.filter { isStale(job, $0) } ?? []
      guard !stale.isEmpty else { continue }
      byJob[job]?.watchers.removeAll { stale.contains($0) }
      count -= stale.count
      let watchers = byJob[job]?.watchers ?? []
      if watchers.isEmpty {
        byJob[job] = nil
        changed.remove(job)
      }
      for peer in Set(stale.map(\.peer)) {
        let left = watchers.count { $0.peer == peer }
        byPeer[peer]?[job] = left == 0 ? nil : left
        if byPeer[peer]?.isEmpty == true { byPeer[peer] = nil }
      }
      removed += stale.map { (job, $0) }
    }
    return removed
  }

  mutating func remove(_ peer: PeerID) {
    for job in byPeer.removeValue(forKey: peer)?.keys ?? [:].keys {
      guard var watched = byJob[job] else { continue }
      let before = watched.watchers.count
      watched.watchers.removeAll { $0.peer == peer }
      count -= before - watched.watchers.count
      byJob[job] = watched.watchers.isEmpty ? nil : watched
      if watched.watchers.isEmpty { changed.remove(job) }
    }
  }
}
