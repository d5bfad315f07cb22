import Broker
import Logging
import Wire

/// The broker's service, as `BrokerEngine` does it: what arrives while a turn is committed is the next one; its records are committed
/// together, then its messages leave.
extension Simulation {
  func startBroker() {
    guard !broker.isUp else { return }
    note("the broker starts")
    broker.begin(at: now)
    checker.brokerStarts(broker.journal, at: broker.instant(now))
    if let difference = broker.core?.differences(fromDisk: broker.journal.snapshot, at: broker.instant(now)).first {
      checker.note(.disk, difference)
    }
    for connection in network.cutAll() {
      schedule(.remade(connection), at: now + Int64.random(in: 1...1_200, using: &broker.random))
    }
    tellBroker(.tick)
  }

  func killBroker(awayFor away: Int64) {
    guard broker.isUp else { return }
    note("the broker dies; \(broker.records.count) records are lost")
    // Only what it has committed can be compared.
    if broker.records.isEmpty, broker.commit == nil,
      let difference = broker.core?.differences(fromDisk: broker.journal.snapshot, at: broker.instant(now)).first
    {
      checker.note(.disk, difference)
    }
    broker.die()
    checker.brokerDied()
    _ = network.cutAll()
    schedule(.brokerStarts, at: now + away)
  }

  func wakeBroker() {
    guard broker.wake <= now else { return }
    broker.wake = .max
    tellBroker(.tick)
  }

  func tellBroker(_ event: Event) {
    guard broker.isUp else { return }
    note("broker <- \(event)")
    let instant = broker.instant(now)
    let coreInstant = broker.saboteur.instant(instant)
    var actions: [Action] = []
    for told in broker.saboteur.told(event, at: instant.milliseconds) {
      actions += broker.core?.handle(told, at: coreInstant) ?? []
    }
    actions = broker.saboteur.said(actions, because: event)
    checker.check(event, actions, at: instant)
    mix(UInt64(actions.count))
    for action in actions { collect(action, of: event) }
    if !broker.isTurnOn, !broker.records.isEmpty || !broker.messages.isEmpty {
      broker.isTurnOn = true
      schedule(.turnEnds(life: broker.life), at: now + Int64.random(in: 0...2, using: &broker.random))
    }
  }

  private func collect(_ action: Action, of event: Event) {
    note("broker -> \(action)")
    switch action {
    case .persist(let record):
      // Its client changed its mind again.
      if case .retried(let job, _) = record { broker.cancelled.removeAll { $0 == job } }
      broker.records.append(broker.drafts.take(record))
      broker.said += 1
    case .wake(let milliseconds):
      let time = broker.time(ofWake: broker.saboteur.plant == .leaseByWallClock ? milliseconds - wallStart : milliseconds)
      broker.wake = time
      if time < .max { schedule(.brokerWakes(life: broker.life), at: time) }
    case .log(let level, let text):
      if level == .critical, !plan.hasLiars { checker.note(.bytes, text) }
    case .reply, .image, .history, .command, .assign:
      if case .reply(_, _, .cancelled) = action, case .client(_, _, .cancel(let job), _) = event { broker.cancelled.append(job) }
      let promisesNothing = broker.isStalled && action.promisesNothing
      let message = SimulatedBroker.Message(action: action, records: promisesNothing ? 0 : broker.said)
      if promisesNothing { return perform(message) }
      if broker.saboteur.isHasty(action) { perform(message) } else { broker.messages.append(message) }
    }
  }

  /// What the wall clock shows more than the monotonic one, for a broker that mistakes one for the other.
  private var wallStart: Int64 {
    let instant = broker.instant(now)
    return Int64(instant.unixMilliseconds) - instant.milliseconds
  }

  /// Hands over to the journal's thread what was gathered, unless that is still at what was before.
  func endTurn() {
    broker.isTurnOn = false
    broker.isStalled = false
    guard broker.isUp, broker.commit == nil, !broker.records.isEmpty || !broker.messages.isEmpty else { return }
    broker.commit = SimulatedBroker.Commit(records: broker.records, messages: broker.messages, cancelled: broker.cancelled)
    broker.records = []
    broker.messages = []
    broker.cancelled = []
    schedule(.commitEnds(life: broker.life), at: now + Int64.random(in: 0...2, using: &broker.random))
  }

  /// It is on disk: sends what waited for it, and goes on with what was gathered since.
  func endCommit() {
    guard let commit = broker.commit else { return }
    if !commit.records.isEmpty {
      if now < broker.diskFullUntil {
        note("nothing can be written")
        broker.commit = nil
        broker.records = commit.records + broker.records
        broker.messages = commit.messages + broker.messages
        broker.cancelled = commit.cancelled + broker.cancelled
        broker.isStalled = true
        broker.isTurnOn = true
        return schedule(.turnEnds(life: broker.life), at: now + Self.stalledRetry)
      }
      if let away = broker.nextCommitFails { return killBroker(awayFor: away) }
      if case .inCommit? = broker.crash?.point, let away = broker.crash?.away {
        for record in broker.saboteur.torn(commit.records) { broker.journal.apply(record) }
        return killBroker(awayFor: away)
      }
    }
    broker.commit = nil
    for record in broker.saboteur.written(commit.records) {
      checker.checkWritten(record, broker.journal)
      broker.journal.apply(record)
    }
    if let fault = broker.journal.faults.first { checker.note(.records, fault) }
    broker.committed += commit.records.count
    for job in commit.cancelled { checker.checkCancelled(job, broker.journal) }
    for (index, message) in commit.messages.enumerated() {
      if !commit.records.isEmpty, let crash = broker.crash, crash.point.isDue(after: index) { return killBroker(awayFor: crash.away) }
      perform(message)
    }
    if !commit.records.isEmpty, let crash = broker.crash, crash.point.isDue(after: .max) { return killBroker(awayFor: crash.away) }
    endTurn()
  }

  /// Nothing is left that the disk does not have.
  func endAllTurns() {
    repeat {
      endTurn()
      endCommit()
    } while !broker.isStalled && (broker.commit != nil || !broker.records.isEmpty || !broker.messages.isEmpty)
  }

  /// How long a broker that could not write waits before it tries again.
  private static let stalledRetry: Int64 = 500

  /// A broker that cannot write takes no requests that it would have to remember.
  func refuseWhileStalled(_ request: UInt64, at peer: PeerID) {
    send(.refused(Refusal(.overloaded, "the broker cannot write to its disk", retryAfterMilliseconds: 1_000)), request, to: peer)
  }

  // MARK: Messages

  private func perform(_ message: SimulatedBroker.Message) {
    if message.records > broker.committed {
      checker.note(
        .durableBeforeSent, "\(message.action) leaves, and \(message.records - broker.committed) records before it are not on disk")
    }
    checker.checkSent(message.action, broker.journal)
    switch message.action {
    case .reply(let peer, let request, let reply): send(reply, request, to: peer)
    case .image(let peer, let request, let order): send(reply(to: order), request, to: peer)
    case .command(let peer, let command): send(command, to: peer)
    case .assign(let peer, let order): assign(order, to: peer)
    case .history(let peer, let request, let job, let sample, let running):
      let over = broker.journal.attempts.filter { $0.key.task.job == job && $0.key.task.sample >= sample }.map(\.value)
      send(.history(over + running), request, to: peer)
    case .persist, .wake, .log: break
    }
  }

  private func send(_ reply: ClientReply, _ request: UInt64, to peer: PeerID) {
    let (delivery, arrivals) = network.sendDown(.reply(request, reply), to: peer, at: now)
    scheduleArrivals(arrivals)
    // A client that does not read loses replies.
    if delivery == .gone { tellBroker(.clientGone(peer)) }
  }

  private func reply(to order: ImageOrder) -> ClientReply {
    guard let tensor = broker.draft(order.key) ?? broker.journal.outputs[order.key] else {
      // A draft is gone if its sample moved on, or ended, in the turn that was asked for it.
      let isDraft = Int(order.key.stage) + 1 < plan.pipeline.stages.count
      if !isDraft, !checker.damaged.contains(order.key) { checker.note(.bytes, "image \(order.key) is not on disk") }
      return .refused(Refusal(.notFound, "sample \(order.key.sample) of job \(order.key.job) is lost: the broker's disk is damaged"))
    }
    return .image(
      FinishedImage(
        job: order.key.job, sample: order.key.sample, label: order.label, seed: order.seed, digest: order.digest.bytes,
        numerics: order.numerics, tensor: tensor))
  }

  private func send(_ command: WorkerCommand, to peer: PeerID) {
    let (delivery, arrivals) = network.sendDown(.command(command), to: peer, at: now)
    scheduleArrivals(arrivals)
    switch delivery {
    case .accepted: break
    case .gone: tellBroker(.workerGone(peer, reason: "it cannot be reached"))
    case .full: tellBroker(.workerGone(peer, reason: "it does not read what it is sent"))
    }
  }

  private func assign(_ order: AssignOrder, to peer: PeerID) {
    checker.checkResume(order, at: peer, broker.journal)
    var assignment = Assignment(
      task: order.task, label: order.label, seed: order.seed, options: order.options, truncated: order.truncated)
    if let input = order.input {
      guard let tensor = broker.draft(input) ?? broker.journal.outputs[input] else {
        // The sample may have moved on, or ended, in the turn that leased it, or in the one after it, which waits for the disk.
        let task = order.task.task
        if checker.books.openSample(task) != nil, !checker.damaged.contains(input), !checker.lostDrafts.contains(input) {
          checker.note(.bytes, "the input of \(task) is neither on disk nor in memory")
        }
        return tellBroker(.tensorsLost(order.task, broker.journal.unwritten[input] == nil ? .input : .draft))
      }
      assignment.lowRes = tensor
    }
    if let step = order.checkpointStep {
      guard let tensors = broker.journal.checkpoints[order.task.task] else { return tellBroker(.tensorsLost(order.task, .checkpoint)) }
      assignment.checkpoint = TaskCheckpoint(step: step, tensors: tensors)
    }
    send(.assign(assignment), to: peer)
  }
}

extension Fault.CrashPoint {
  /// The commit is done and so many of its messages have left.
  fileprivate func isDue(after messages: Int) -> Bool {
    switch self {
    case .now, .inCommit: false
    case .afterCommit: true
    case .afterMessages(let count): messages >= count
    }
  }
}
