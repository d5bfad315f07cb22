import Broker
import Wire

/// Sits between a broker's core and the world and makes them misunderstand each other the way a planted bug would.
struct Saboteur {
  let plant: Plant?
  /// Workers that the core goes on hearing from though nobody does.
  private var undead: Set<PeerID> = []
  private var lastHeard: [PeerID: Int64] = [:]
  private var hellos: [PeerID: WorkerHello] = [:]
  private var holders: [TaskID: (peer: PeerID, attempt: UInt32)] = [:]
  private var keyOwners: [String: String] = [:]

  init(_ plant: Plant?) { self.plant = plant }

  mutating func brokerDied() {
    undead = []
    lastHeard = [:]
    hellos = [:]
    holders = [:]
  }

  /// The limits that a core is given.
  func limits(_ limits: BrokerLimits) -> BrokerLimits {
    var limits = limits
    switch plant {
    case .exceedAdmission: limits.maxOpenTasks *= 2
    case .tenantLimitOffByOne: limits.maxOpenTasksPerTenant += 1
    case .ignoreWeights: limits.weights = [:]
    default: break
    }
    return limits
  }

  /// What a starting core finds on disk.
  func restored(_ snapshot: Snapshot) -> Snapshot {
    var snapshot = snapshot
    switch plant {
    case .forgetJobs: _ = snapshot.jobs.popLast()
    case .forgetQuarantine: snapshot.quarantined = []
    case .reuseAttempts:
      for job in snapshot.jobs.indices {
        for sample in snapshot.jobs[job].samples.indices where snapshot.jobs[job].samples[sample].attempt > 0 {
          snapshot.jobs[job].samples[sample].attempt -= 1
        }
      }
    default: break
    }
    return snapshot
  }

  /// What reaches the disk of a turn's records.
  func written(_ records: [Record]) -> [Record] {
    switch plant {
    case .resurrectCancelled: records.filter { if case .finished(_, .cancelled, _) = $0 { false } else { true } }
    case .forgetRetries: records.filter { if case .retried = $0 { false } else { true } }
    default: records
    }
  }

  /// What is left of a turn's records if the broker dies while it writes them.
  func torn(_ records: [Record]) -> ArraySlice<Record> { plant == .tearCommits ? records.dropLast() : [] }

  /// Messages that leave at once, instead of after the commit.
  func isHasty(_ action: Action) -> Bool {
    switch (plant, action) {
    case (.acknowledgeBeforeCommit, .reply(_, _, .accepted)), (.assignBeforeCommit, .assign): true
    case (.imageBeforeCommit, .image): true
    case (.imageBeforeCommit, .reply(_, _, .event(let status))): status.state.isFinal
    default: false
    }
  }

  /// The time by which the core measures leases.
  func instant(_ instant: Instant) -> Instant {
    guard plant == .leaseByWallClock else { return instant }
    return Instant(milliseconds: Int64(instant.unixMilliseconds), unixMilliseconds: instant.unixMilliseconds)
  }

  /// What the core is told of an event.
  mutating func told(_ event: Event, at now: Int64) -> [Event] {
    var events = [event]
    switch event {
    case .worker(let peer, let message):
      lastHeard[peer] = now
      events = told(message, from: peer)
    case .workerGone(let peer, _):
      if plant == .forgetBusyWorkers, hellos[peer] != nil {
        undead.insert(peer)
        events = []
      } else {
        forget(peer)
      }
    case .client(let peer, let request, let message, let fresh):
      events = [.client(peer, request: request, told(message), fresh: fresh)]
    default: break
    }
    if plant == .ignoreLeaseExpiry {
      for (peer, time) in lastHeard where now - time > 300 && hellos[peer] != nil { undead.insert(peer) }
    }
    return undead.sorted { $0.description < $1.description }.map { .worker($0, .beat(running: [])) } + events
  }

  private mutating func told(_ request: ClientRequest) -> ClientRequest {
    switch (plant, request) {
    case (.releaseAllOnHold, .release(let job, let keep)): return .release(job, keep: Array(0...(keep.max() ?? 0)))
    case (_, .submit(var submission)):
      switch plant {
      case .forgetKeys: submission.key = ""
      case .ignorePriorities: submission.priority = .normal
      case .runPastDeadline: submission.deadlineMilliseconds = submission.deadlineMilliseconds.map { $0 + 60_000 }
      case .ignoreHold: submission.holdAfter = ""
      case .keySharedAcrossTenants:
        submission.tenant = keyOwners[submission.key, default: submission.tenant]
        keyOwners[submission.key] = submission.tenant
      default: break
      }
      return .submit(submission)
    default: return request
    }
  }

  private mutating func forget(_ peer: PeerID) {
    hellos[peer] = nil
    lastHeard[peer] = nil
    undead.remove(peer)
  }

  private mutating func told(_ message: WorkerMessage, from peer: PeerID) -> [Event] {
    var message = message
    switch (plant, message) {
    case (_, .hello(var hello)):
      hellos[peer] = hello
      if plant == .exceedCredit {
        hello.slots += 1
        hello.bytes *= 2
        message = .hello(hello)
      }
    case (.acceptStaleAttempts, .checkpoint(let ref, let checkpoint)):
      guard let holder = holders[ref.task], holder.attempt > ref.attempt else { break }
      return [.worker(holder.peer, .checkpoint(TaskRef(ref.task, attempt: holder.attempt), checkpoint)), .worker(peer, message)]
    case (.acceptStaleAttempts, .failure(let ref, let reason, let permanent)):
      guard let holder = holders[ref.task], holder.attempt > ref.attempt else { break }
      let present = TaskRef(ref.task, attempt: holder.attempt)
      return [.worker(holder.peer, .failure(present, reason: reason, permanent: permanent)), .worker(peer, message)]
    case (.underestimateSteps, .progress(let progress, let milliseconds)):
      message = .progress(progress, stepMilliseconds: milliseconds / 100)
    case (.overestimateSteps, .progress(let progress, let milliseconds)):
      message = .progress(progress, stepMilliseconds: milliseconds * 100)
    case (.leakCredit, .failure): return [.worker(peer, .beat(running: []))]
    case (.skipDigestCheck, .result(var result)):
      result.digest = result.tensor.digest
      result.checksum = result.tensor.checksum
      message = .result(result)
    default: break
    }
    return [.worker(peer, message)]
  }

  /// What the world hears of what the core says.
  mutating func said(_ actions: [Action], because event: Event) -> [Action] {
    guard plant != nil else { return actions }
    var said: [Action] = []
    for action in actions {
      if case .command(let peer, .disconnect) = action { forget(peer) }
      said += self.said(action)
    }
    if plant == .leakCredit, case .worker(let peer, .failure(let ref, _, _)) = event { said.append(.command(peer, .settled(ref))) }
    return said
  }

  private mutating func said(_ action: Action) -> [Action] {
    switch (plant, action) {
    case (_, .assign(let peer, var order)):
      holders[order.task.task] = (peer, order.task.attempt)
      if plant == .loseCheckpointStep, let step = order.checkpointStep, step > 1 { order.checkpointStep = step - 1 }
      if plant == .ignoreCheckpoints { order.checkpointStep = nil }
      guard plant == .leaseTwice, let stage = hellos[peer]?.stage,
        let other = hellos.filter({ $0.key != peer && $0.value.stage == stage }).keys.min(by: { $0.description < $1.description })
      else { return [.assign(peer, order)] }
      return [.assign(peer, order), .assign(other, order)]
    case (.deliverTwice, .image): return [action, action]
    case (.mixUpSamples, .image(let peer, let request, var order)):
      order.key.sample = order.key.sample == 0 ? 1 : 0
      return [.image(peer, request: request, order)]
    case (.dropSettled, .command(_, .settled)): return []
    case (.blameTheHonest, .persist(.quarantined(let name, _, let reason))):
      guard let guilty = hellos.values.first(where: { $0.name == name }),
        let other = hellos.values.filter({ $0.name != name && $0.stage == guilty.stage }).min(by: { $0.name < $1.name })
      else { return [action] }
      return [.persist(.quarantined(name: other.name, boot: other.boot, reason: reason))]
    case (.forgetLastEvent, .reply(_, _, .event(let status))) where status.state.isFinal && status.finishedUnixMilliseconds != nil:
      return []
    default: return [action]
    }
  }
}
