import Broker
import SeededRandom
import Wire
import Worker

/// The broker's peers: workers' services, as `WorkerService` does it, and clients.
extension Simulation {
  // MARK: Workers

  func startMachine(_ index: Int) {
    guard machines[index].worker == nil else { return }
    machines[index].lives += 1
    let life = machines[index].lives
    var random = SplitMix64.stream(plan.seed, 10 + UInt64(index), UInt64(life))
    do {
      machines[index].worker = try SimulatedWorker(
        plan.machines[index], life: life, pipeline: plan.pipeline, poison: plan.poison, random: &random)
    } catch {
      fatalError("the plan's stages are the pipeline's: \(error)")
    }
    note("worker \(index) starts")
    tellWorker(index, life, .start)
  }

  func stopMachine(_ index: Int, awayFor away: Int64) {
    guard let worker = machines[index].worker else { return }
    if let connection = worker.connection { network.close(connection) }
    machines[index].worker = nil
    machines[index].frozenUntil = 0
    schedule(.machineStarts(index), at: now + away)
  }

  func tellWorker(_ index: Int, _ life: Int, _ event: WorkerCore.Event) {
    guard let worker = machines[index].worker, worker.life == life else { return }
    note("worker \(index) <- \(event)")
    let actions = worker.core.handle(event, at: .milliseconds(now))
    mix(UInt64(actions.count) << 8)
    for action in actions { perform(action, of: worker, index) }
    guard machines[index].worker === worker else { return }
    if worker.outbox.isOverfull {
      worker.outbox.removeAll()
      return tellWorker(index, life, .command(.disconnect(reason: "it does not read what this worker sends")))
    }
    beginStep(index)
    arm(index)
  }

  private func perform(_ action: WorkerCore.Action, of worker: SimulatedWorker, _ index: Int) {
    note("worker \(index) -> \(action)")
    switch action {
    case .locate:
      dial(worker, index, isPublic: true)
      if let connection = worker.connection { scheduleArrivals(network.sendUp(.request(1, .locate), on: connection, at: now)) }
    case .dial: dial(worker, index, isPublic: false)
    case .hangUp: hangUp(worker)
    case .send(let message):
      worker.outbox.add(message)
      flush(index)
    case .compute(let command): worker.post(command)
    case .ready, .note: break
    case .leave: stopMachine(index, awayFor: machines[index].drainedAway)
    }
  }

  private func dial(_ worker: SimulatedWorker, _ index: Int, isPublic: Bool) {
    hangUp(worker)
    worker.connection = network.open(.machine(index, life: worker.life, isPublic: isPublic), isBrokerUp: broker.isUp)
  }

  private func hangUp(_ worker: SimulatedWorker) {
    worker.outbox.removeAll()
    if let connection = worker.connection { network.close(connection) }
    worker.connection = nil
  }

  func flush(_ index: Int) {
    guard let worker = machines[index].worker else { return }
    guard let connection = worker.connection else { return worker.outbox.removeAll() }
    while let message = worker.outbox.messages.first, network.canTake(connection) {
      scheduleArrivals(network.sendUp(.worker(message), on: connection, at: now))
      worker.outbox.removeFirst()
    }
  }

  private func arm(_ index: Int) {
    guard let worker = machines[index].worker, worker.core.nextWake != worker.wake else { return }
    worker.wake = worker.core.nextWake
    if let wake = worker.wake { schedule(.workerWakes(index, life: worker.life), at: milliseconds(wake)) }
  }

  func wakeWorker(_ index: Int, _ life: Int, _ occurrence: Occurrence) {
    guard let worker = machines[index].worker, worker.life == life, let wake = worker.wake, milliseconds(wake) <= now else { return }
    if machines[index].frozenUntil > now { return schedule(occurrence, at: machines[index].frozenUntil) }
    worker.wake = nil
    tellWorker(index, life, .tick)
  }

  private func beginStep(_ index: Int) {
    guard let worker = machines[index].worker, let duration = worker.beginTurn() else { return }
    let end = now + duration + machines[index].stepLengthens
    machines[index].stepLengthens = 0
    schedule(.stepEnds(index, life: worker.life), at: end)
  }

  func endStep(_ index: Int, _ life: Int, _ occurrence: Occurrence) {
    guard let worker = machines[index].worker, worker.life == life else { return }
    if machines[index].frozenUntil > now { return schedule(occurrence, at: machines[index].frozenUntil) }
    for report in worker.endTurn() {
      var report = report
      if machines[index].bitFlips > 0, case .finished(let result, let steps) = report {
        machines[index].bitFlips -= 1
        report = .finished(flipped(result), steps: steps)
      }
      if plan.machines[index].lies, case .finished(let result, let steps) = report {
        var lie = flipped(result, bit: UInt32(index % 20))
        lie.digest = lie.tensor.digest
        lie.checksum = lie.tensor.checksum
        checker.lied(lie)
        report = .finished(lie, steps: steps)
      }
      tellWorker(index, life, .compute(report))
    }
    beginStep(index)
  }

  /// A result whose bytes changed after its digest was taken.
  private func flipped(_ result: TaskResult, bit: UInt32 = 0) -> TaskResult {
    var floats = result.tensor.floats()
    floats[0] = Float(bitPattern: floats[0].bitPattern ^ 1 << bit)
    var result = result
    if let tensor = try? WireTensor(name: result.tensor.name, floats: floats, shape: result.tensor.shape) { result.tensor = tensor }
    return result
  }

  // MARK: Clients

  func startClient(_ index: Int) {
    clients[index].isAway = false
    clients[index].person.restart(at: max(now, plan.clients[index].start))
    arm(client: index)
  }

  func stopClient(_ index: Int, awayFor away: Int64) {
    guard !clients[index].isAway else { return }
    if let connection = clients[index].connection { network.close(connection) }
    clients[index].connection = nil
    clients[index].isAway = true
    clients[index].wake = .max
    schedule(.clientStarts(index), at: now + away)
  }

  func wakeClient(_ index: Int) {
    guard !clients[index].isAway else { return }
    clients[index].wake = .max
    let (requests, reconnects) = clients[index].person.wake(at: now)
    if let old = clients[index].connection, reconnects {
      network.close(old)
      clients[index].connection = nil
    }
    for (number, request) in requests {
      let connection = clients[index].connection ?? network.open(.client(index), isBrokerUp: broker.isUp)
      clients[index].connection = connection
      note("client \(index) -> \(request)")
      scheduleArrivals(network.sendUp(.request(number, request), on: connection, at: now))
    }
    arm(client: index)
  }

  func tellClient(_ index: Int, _ number: UInt64, _ reply: ClientReply) {
    guard !clients[index].isAway else { return }
    note("client \(index) <- \(reply)")
    mix(UInt64(index) << 16)
    clients[index].person.receive(number, reply, at: now)
    if let complaint = clients[index].person.complaint { checker.note(.clients, "client \(index): \(complaint)") }
    arm(client: index)
  }

  private func arm(client index: Int) {
    guard let wake = clients[index].person.nextWake(after: now), wake != clients[index].wake else { return }
    clients[index].wake = wake
    schedule(.clientWakes(index), at: wake)
  }

  // MARK: Faults

  func strike(_ fault: Fault.Kind) {
    switch fault {
    case .brokerKilled(.now, let away): killBroker(awayFor: away)
    case .brokerKilled(let point, let away): if broker.isUp { broker.crash = (point, away) }
    case .brokerFrozen(let duration): if broker.isUp { broker.frozenUntil = now + duration }
    case .commitFails(let away): if broker.isUp { broker.nextCommitFails = away }
    case .diskFull(let duration): broker.diskFullUntil = now + duration
    case .checkpointsDamaged:
      for task in Array(broker.journal.checkpoints.keys) { broker.journal.damageCheckpoint(task) }
    case .outputDamaged:
      let keys = broker.journal.outputs.keys.sorted { ($0.job, $0.sample, $0.stage) < ($1.job, $1.sample, $1.stage) }
      guard let key = keys.randomElement(using: &broker.random) else { return }
      broker.journal.damage(key)
      checker.damaged.insert(key)
    case .wallClockJumps(let jump): broker.wallOffset += jump
    case .workerKilled(let index, let away): stopMachine(index, awayFor: away)
    case .machineVanishes(let index, let away):
      if let connection = machines[index].worker?.connection { network.cut(connection, brokerKnowsAt: .max) }
      stopMachine(index, awayFor: away)
    case .workerDrained(let index, let away):
      machines[index].drainedAway = away
      if let worker = machines[index].worker, machines[index].frozenUntil <= now { tellWorker(index, worker.life, .drain) }
    case .workerFrozen(let index, let duration): if machines[index].worker != nil { machines[index].frozenUntil = now + duration }
    case .stepIsLong(let index, let duration): machines[index].stepLengthens = duration
    case .stepsFail(let index, let count): machines[index].worker?.failSteps(count)
    case .bitFlips(let index): machines[index].bitFlips += 1
    case .connectionCut(let party, let broker, let back):
      guard let connection = connection(of: party) else { return }
      network.cut(connection, brokerKnowsAt: now + broker)
      schedule(.remade(connection), at: now + back)
    case .connectionStalls(let party, let direction, let duration):
      if let connection = connection(of: party) { network.stall(connection, direction, until: now + duration) }
    case .messageDoubled(let party, let direction):
      if let connection = connection(of: party) { network.doubleNext(connection, direction) }
    case .clientKilled(let index, let away): stopClient(index, awayFor: away)
    case .visit(let index, let choice, let duration): visit(index, choice, for: duration)
    }
  }

  /// Asks a few things about a client's job on a connection of their own, whose answers interest nobody.
  private func visit(_ index: Int, _ choice: UInt64, for duration: Int64) {
    guard let job = clients[index].person.job else { return }
    var random = SplitMix64(seed: choice)
    let stage = plan.pipeline.stages.randomElement(using: &random)?.name ?? ""
    let requests: [ClientRequest] = [
      .watch(job), .watch(job), .status(job, limit: 0), .status(nil, limit: 5), .dead(limit: 5), .workers, .history(job, sample: 0),
      .fetch(job, sample: 0), .fetch(job, sample: 0, stage: stage),
    ]
    let connection = network.open(.client(index), isBrokerUp: broker.isUp)
    for number in 0..<UInt64.random(in: 1...4, using: &random) {
      let request = requests.randomElement(using: &random) ?? .workers
      note("visitor -> \(request)")
      scheduleArrivals(network.sendUp(.request(SimulatedClient.visitorsRequests + number, request), on: connection, at: now))
    }
    schedule(.visitorLeaves(connection), at: now + duration)
  }

  private func connection(of party: Fault.Party) -> Int? {
    switch party {
    case .machine(let index): machines[index].worker?.connection
    case .client(let index): clients[index].connection
    }
  }

  private func milliseconds(_ duration: Duration) -> Int64 {
    let (seconds, attoseconds) = duration.components
    // Never before the time asked for.
    return seconds * 1_000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
  }
}
