import Broker
import HeapModule
import SeededRandom
import Wire
import Worker

/// A broker's core, workers' cores, clients and a journal in memory under a virtual clock, with an adversary. One seed is one run, the same
/// one each time, on any machine.
final class Simulation {
  /// What happens at a time.
  enum Occurrence {
    case fault(Int)
    case brokerStarts
    case brokerWakes(life: Int)
    case turnEnds(life: Int)
    case commitEnds(life: Int)
    case arrives(Network.Arrival)
    case remade(Int)
    case machineStarts(Int)
    case workerWakes(Int, life: Int)
    case stepEnds(Int, life: Int)
    case clientStarts(Int)
    case clientWakes(Int)
    /// By its connection.
    case visitorLeaves(Int)
  }

  private struct Scheduled: Comparable {
    var time: Int64
    var number: Int
    var occurrence: Occurrence

    static func < (a: Self, b: Self) -> Bool { (a.time, a.number) < (b.time, b.number) }
    static func == (a: Self, b: Self) -> Bool { a.number == b.number }
  }

  /// Where a worker runs.
  struct Machine {
    var worker: SimulatedWorker?
    var lives = 0
    var frozenUntil: Int64 = 0
    var stepLengthens: Int64 = 0
    var bitFlips = 0
    /// How long it stays down after it was drained.
    var drainedAway: Int64 = 500
  }

  struct Client {
    var person: SimulatedClient
    var connection: Int?
    var isAway = false
    var wake: Int64 = .max
    var random: SplitMix64
  }

  let plan: SimulationPlan
  /// Indices of the plan's faults that happen.
  let faults: Set<Int>
  let auditsAlways: Bool
  var trace: Trace?
  var now: Int64 = 0
  private(set) var events = 0
  private var agenda = Heap<Scheduled>()
  private var scheduled = 0
  var network: Network
  var machines: [Machine]
  var clients: [Client]
  var broker: SimulatedBroker
  var checker: Checker
  /// Sums up all that happened, to compare two runs.
  private(set) var fingerprint: UInt64 = 0xcbf2_9ce4_8422_2325

  /// - Parameters:
  ///   - faults: which of the plan's happen; `nil`: all.
  ///   - auditsAlways: the tables are audited after every event, not every few.
  init(_ plan: SimulationPlan, plant: Plant? = nil, faults: Set<Int>? = nil, auditsAlways: Bool = false, trace: Trace? = nil) {
    self.plan = plan
    self.faults = faults ?? Set(plan.faults.indices)
    self.auditsAlways = auditsAlways
    self.trace = trace
    network = Network(seed: plan.seed)
    machines = plan.machines.map { _ in Machine() }
    clients = plan.clients.enumerated().map { index, client in
      Client(person: SimulatedClient(client), random: .stream(plan.seed, 100 + UInt64(index)))
    }
    broker = SimulatedBroker(plan, plant)
    checker = Checker(plan)
  }

  /// Runs until every client has what it wants, or something is wrong.
  func run() -> Violation? {
    for index in plan.faults.indices where faults.contains(index) { schedule(.fault(index), at: plan.faults[index].time) }
    startBroker()
    for index in machines.indices { startMachine(index) }
    for index in clients.indices { startClient(index) }
    while checker.violation == nil, let next = agenda.popMin() {
      now = next.time
      if isOver { break }
      if now > SimulationPlan.end {
        checker.note(.liveness, describeUnfinished())
        break
      }
      events += 1
      occur(next.occurrence)
      if auditsAlways || events % 8 == 0 { audit() }
    }
    if checker.violation == nil { checkEnd() }
    return checker.violation
  }

  /// A submission whose answer was lost may have left a job that nobody waits for, and a finished task may be repeated to find a liar.
  private var isOver: Bool {
    now > SimulationPlan.chaosEnd && clients.allSatisfy(\.person.isDone) && !broker.journal.jobs.values.contains { $0.ending == nil }
      && broker.core?.footprint.leases ?? 0 == 0
  }

  private func occur(_ occurrence: Occurrence) {
    switch occurrence {
    case .fault(let index):
      note("FAULT \(index): \(plan.faults[index])")
      strike(plan.faults[index].kind)
    case .brokerStarts: startBroker()
    case .brokerWakes(let life): if life == broker.life, !isBrokerFrozen(occurrence) { wakeBroker() }
    case .commitEnds(let life): if life == broker.life, !isBrokerFrozen(occurrence) { endCommit() }
    case .turnEnds(let life): if life == broker.life, !isBrokerFrozen(occurrence) { endTurn() }
    case .arrives(let arrival): arrive(arrival)
    case .remade(let connection): if broker.isUp { scheduleArrivals(network.remake(connection, at: now)) }
    case .machineStarts(let index): startMachine(index)
    case .workerWakes(let index, let life): wakeWorker(index, life, occurrence)
    case .stepEnds(let index, let life): endStep(index, life, occurrence)
    case .clientStarts(let index): startClient(index)
    case .clientWakes(let index): if clients[index].wake <= now { wakeClient(index) }
    case .visitorLeaves(let connection): network.close(connection)
    }
  }

  func schedule(_ occurrence: Occurrence, at time: Int64) {
    scheduled += 1
    agenda.insert(Scheduled(time: max(time, now), number: scheduled, occurrence: occurrence))
  }

  func scheduleArrivals(_ arrivals: [(Int64, Network.Arrival)]) {
    for (time, arrival) in arrivals { schedule(.arrives(arrival), at: time) }
  }

  /// A frozen broker does it when it thaws.
  private func isBrokerFrozen(_ occurrence: Occurrence) -> Bool {
    guard broker.frozenUntil > now else { return false }
    schedule(occurrence, at: broker.frozenUntil)
    return true
  }

  private func arrive(_ arrival: Network.Arrival) {
    guard let due = network.due(arrival, at: now) else { return }
    let owner = network.owner(arrival.connection)
    var thaw = due
    if arrival.direction == .up {
      guard broker.isUp else { return }
      thaw = max(due, broker.frozenUntil)
    } else {
      guard network.isOpen(arrival.connection) else { return }
      if case .machine(let index, _, _) = owner { thaw = max(due, machines[index].frozenUntil) }
    }
    if thaw > now { return schedule(.arrives(arrival), at: thaw) }
    guard let (message, peer) = network.take(arrival) else { return }
    switch (message, owner) {
    case (.worker(let message), .machine(let index, let life, _)):
      tellBroker(.worker(peer, message))
      if machines[index].worker?.life == life, network.isOpen(arrival.connection) { flush(index) }
    case (.request(let number, let request), _) where broker.isStalled && !request.changesNothing:
      refuseWhileStalled(number, at: peer)
    case (.request(let number, let request), _):
      var fresh = JobID(rawValue: 0)
      if case .submit = request { fresh = JobID(rawValue: broker.random.next()) }
      tellBroker(.client(peer, request: number, request, fresh: fresh))
    case (.command(let command), .machine(let index, let life, _)): tellWorker(index, life, .command(command))
    case (.reply(_, .located(let port)), .machine(let index, let life, _)): tellWorker(index, life, .located(port: port))
    case (.reply(let number, let reply), .client(let index)): tellClient(index, number, reply)
    default: break
    }
  }

  // MARK: Checks

  private func audit() {
    if let fault = broker.core?.audit().first { checker.note(.tables, fault) }
  }

  private func checkEnd() {
    audit()
    endAllTurns()
    guard broker.isUp else { return }
    if let difference = broker.core?.differences(fromDisk: broker.journal.snapshot, at: broker.instant(now)).first {
      checker.note(.disk, difference)
    }
    checker.checkEnd()
    if let footprint = broker.core?.footprint, footprint.leases > 0 || footprint.watches > 0 {
      checker.note(.tables, "nothing is left to do, and there are \(footprint.leases) leases and \(footprint.watches) watches")
    }
  }

  private func describeUnfinished() -> String {
    let waiting = clients.indices.filter { !clients[$0].person.isDone }.map { index in
      "client \(index): job \(clients[index].person.job.map(\.description) ?? "not accepted"), \(String(describing: clients[index].person.state))"
    }
    let open = broker.journal.jobs.values.filter { $0.ending == nil }.flatMap { job in
      job.samples.enumerated().filter { $0.element.error == nil && $0.element.outcomes.count < job.record.options.count }
        .map { "sample \($0.offset) of \(job.record.id) in stage \($0.element.outcomes.count)\($0.element.isLeased ? ", leased" : "")" }
    }
    return (waiting + open.sorted()).joined(separator: "; ")
  }

  // MARK: The record of a run

  func note(_ text: @autoclosure () -> String) {
    trace?.add(number: events, time: now, text())
  }

  /// Mixes a number into the fingerprint (FNV-1a).
  func mix(_ number: UInt64) {
    fingerprint = (fingerprint ^ number ^ UInt64(bitPattern: now) << 32) &* 0x0000_0100_0000_01b3
  }
}
