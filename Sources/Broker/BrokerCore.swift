import Logging
import Wire

/// The broker as a pure state machine: events and the time in, actions out. No sockets, clock, disk or randomness.
///
/// There is one of it, for jobs, workers and leases are objects, which a copy would share.
package struct BrokerCore: ~Copyable {
  /// Of a result: two records of the task that ended and one of the next, and two messages.
  private static let usualActions = 5

  /// What it was started with; `limits` is what holds, with the terms that the access list gives its tenants.
  let configured: BrokerLimits
  var limits: BrokerLimits
  /// `nil`: it works without keys, and anyone may do anything.
  var access: AccessList?
  /// Of the message that is being handled.
  private(set) var sender = Sender()
  private(set) var principal = Principal.anyone
  var refusals = RefusalLog()
  var pipelines = PipelineTable()
  var jobs = JobTable()
  var queues = StageQueues()
  var workers = WorkerTable()
  var leases = LeaseTable()
  var watches = WatchTable()
  var passTimes = PassTimes()
  var backOff = BackOff()
  var deadlines = Deadlines()
  var quarantine = Quarantine()
  var blame: Blame
  var now: Int64
  var unixNow: UInt64
  /// Set by `listening(on:)`; what `locate` answers.
  var workerPort: UInt32 = 0
  /// Stages in which work or a worker may have become free.
  var unsettledStages: Set<StageKey> = []
  /// Stages for which as much waits as may, or did and more than half of it still does.
  var fullStages: Set<StageKey> = []
  var nextHousekeeping: Int64
  private var wakeAt: Int64?
  var actions: [Action] = []

  /// Starts from what is on disk.
  ///
  /// - Parameter access: `nil`: anyone may do anything.
  package init(
    limits: BrokerLimits = BrokerLimits(), access: AccessList? = nil, restoring snapshot: Snapshot = Snapshot(), at start: Instant
  ) {
    configured = limits
    self.limits = limits
    blame = Blame(maxTasks: limits.maxBlamedTasks)
    now = start.milliseconds
    unixNow = start.unixMilliseconds
    nextHousekeeping = start.milliseconds
    for pipeline in snapshot.pipelines { pipelines.insert(pipeline) }
    for record in snapshot.quarantined { quarantine.insert(record) }
    restore(snapshot.jobs)
    jobs.sortFinished()
    if let access { goBy(access) }
  }

  package mutating func listening(onWorkerPort port: UInt32) { workerPort = port }

  /// What to do about an event. Records come before the messages that depend on them.
  ///
  /// - Parameter sender: who sent the message that the event is.
  package mutating func handle(_ event: Event, from sender: Sender = Sender(), at now: Instant) -> [Action] {
    handle(CollectionOfOne(Arrival(event, from: sender)), at: now)
  }

  /// What to do about all that happened in one turn. Work is given out after the last of it.
  package mutating func handle(_ arrivals: some Sequence<Arrival>, at now: Instant) -> [Action] {
    self.now = max(self.now, now.milliseconds)
    unixNow = now.unixMilliseconds
    actions.reserveCapacity(Self.usualActions * arrivals.underestimatedCount)
    for arrival in arrivals {
      if let access {
        sender = arrival.sender
        principal = access.principal(of: sender.key)
      }
      take(arrival.event)
    }
    retryDue()
    expireDue()
    if self.now >= nextHousekeeping { keepHouse() }
    dispatch()
    sendDueEvents()
    setWake()
    defer { actions = [] }
    return actions
  }

  private mutating func take(_ event: Event) {
    switch event {
    case .client(let peer, let request, let message, let fresh): handle(message, from: peer, request: request, fresh: fresh)
    case .worker(let peer, let message): handle(message, from: peer)
    case .clientGone(let peer): watches.remove(peer)
    case .workerGone(let peer, let reason): miss(peer, because: reason)
    case .tensorsLost(let task, let which): recover(task, from: which)
    case .accessList(let list): goBy(list)
    case .tick: wakeAt = nil
    }
  }

  /// For the service's summary at start and stop.
  package var summary: (jobs: Int, openTasks: Int, workers: Int) { (jobs.count, jobs.openTasks, workers.count) }

  private mutating func restore(_ snapshots: [JobSnapshot]) {
    for snapshot in snapshots.sorted(by: { $0.record.sequence < $1.record.sequence }) {
      guard let key = pipelines.key(forDigest: snapshot.record.pipeline) else { continue }
      let job = Job(snapshot, pipeline: key, deadline: localDeadline(snapshot.record.terms))
      jobs.insert(job)
      if job.ending == nil { deadlines.insert(job) }
      for (index, sample) in job.samples.enumerated() {
        switch sample.phase {
        case .waiting:
          enqueue(job, index)
        case .leased:
          leases[TaskID(job: job.id, sample: UInt32(index), stage: UInt32(sample.stage))] = Lease(
            attempt: sample.attempt, holder: .nobody(until: now + Int64(limits.graceMilliseconds), lost: nil), bytes: 0,
            resumeStep: sample.checkpoint?.step ?? 0, lastProgress: now, startedUnix: unixNow,
            // It began there or before: the disk remembers only how far it is.
            firstStep: sample.checkpoint?.step ?? 0, origin: .restored)
        case .done, .failed, .cancelled, .held: break
        }
      }
    }
  }

  private mutating func setWake() {
    let wanted = min(nextHousekeeping, watches.nextDue ?? .max, backOff.nextDue ?? .max, deadlines.nextDue ?? .max)
    if let wakeAt, wakeAt <= wanted { return }
    wakeAt = wanted
    actions.append(.wake(atMilliseconds: wanted))
  }

  private mutating func sendDueEvents() {
    for (id, watchers) in watches.takeDue(at: now, interval: limits.eventMilliseconds) {
      guard let job = jobs[id], let pipeline = pipelines[job.pipeline] else { continue }
      let status = StatusReport.brief(job, pipeline.info)
      for watcher in watchers { actions.append(.reply(watcher.peer, request: watcher.request, .event(status))) }
    }
  }

  mutating func log(_ level: Logger.Level, _ message: String) {
    actions.append(.log(level, message))
  }
}
