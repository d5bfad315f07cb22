import HeapModule
import Logging
import Testing
import Wire

@testable import Broker

/// A broker core, workers and clients on a network that loses, doubles, delays and reorders messages, with crashes of everything, under a
/// virtual clock. One seed is one run. After a while the faults end; then everything that was accepted has to finish.
struct Simulation {
  private enum Delivery {
    case toBroker(Event)
    case toWorker(PeerID, WorkerCommand)
    case toClient(PeerID, ClientReply)
  }

  private struct Envelope: Comparable {
    var time: Int64
    var number: Int
    /// Messages to a broker that is dead by then are lost.
    var brokerLife: Int
    var delivery: Delivery

    static func < (a: Self, b: Self) -> Bool { (a.time, a.number) < (b.time, b.number) }
    static func == (a: Self, b: Self) -> Bool { a.number == b.number }
  }

  /// Where a worker runs. Its process may be dead or stopped.
  private struct Machine {
    var stage: Int
    var worker: SimulatedWorker?
    /// When a dead one starts anew.
    var returns: Int64 = 0
    var frozenUntil: Int64 = 0
  }

  let seed: UInt64
  private var random: SplitMix64
  private var now: Int64 = 0
  private var network = Heap<Envelope>()
  private var sent = 0
  private var core: BrokerCore?
  private var brokerLife = 0
  private var brokerReturns: Int64 = 0
  private var wake: Int64?
  private var store = RecordStore()
  private var workers: [Machine] = []
  private var clients: [SimulatedClient] = []
  private let pipeline: PipelineInfo
  private let limits: BrokerLimits
  private var peers: UInt64 = 0
  /// Records and messages of the turn that is on.
  private var turn: [Action] = []
  private let chaosEnd: Int64 = 12_000
  private let end: Int64 = 90_000
  private(set) var crashes = 0
  private(set) var complaints: [String] = []

  init(seed: UInt64) {
    self.seed = seed
    random = SplitMix64(seed: seed)
    pipeline = makePipeline(stages: Int.random(in: 1...3, using: &random), steps: UInt32.random(in: 2...12, using: &random))
    var limits = BrokerLimits()
    limits.beatMilliseconds = 200
    limits.deadMilliseconds = 1_000
    limits.graceMilliseconds = 800
    limits.stallMilliseconds = 3_000
    // Bad luck alone must not be the end of a sample here.
    limits.maxAttempts = 10_000
    limits.maxOpenTasks = 60
    self.limits = limits
    for stage in pipeline.stages.indices {
      for copy in 0..<Int.random(in: 1...3, using: &random) {
        workers.append(Machine(stage: stage, worker: makeWorker(stage, copy)))
      }
    }
    for index in 0..<Int.random(in: 2...6, using: &random) {
      let run = SampleRun(label: "wood", seed: random.next(), count: UInt32.random(in: 1...7, using: &random))
      let cancelTime = random.chance(0.2) ? Int64.random(in: 0...chaosEnd, using: &random) : nil
      clients.append(
        SimulatedClient(
          Submission(runs: [run], key: "job \(index)"), pipeline: pipeline, cancelTime: cancelTime, peer: newPeer()))
    }
  }

  private mutating func newPeer() -> PeerID {
    peers += 1
    return PeerID((0..<8).map { UInt8(truncatingIfNeeded: peers >> (8 * $0)) })
  }

  private mutating func makeWorker(_ stage: Int, _ copy: Int) -> SimulatedWorker {
    SimulatedWorker(
      "w\(stage).\(copy)", boot: random.next(), pipeline: pipeline, stage: stage, numerics: random.chance(0.8) ? "cpu" : "gpu",
      slots: UInt32.random(in: 1...4, using: &random), peer: newPeer(), now: now)
  }

  private var isCalm: Bool { now >= chaosEnd }

  // MARK: The run

  /// - Returns: what went wrong, if anything.
  mutating func run() -> [String] {
    while now < end, !clients.allSatisfy(\.isDone) {
      now += Int64.random(in: 1...20, using: &random)
      if core == nil, now >= brokerReturns { startBroker() }
      deliver()
      if let wake, wake <= now, core != nil {
        self.wake = nil
        tellBroker(.tick)
      }
      for index in workers.indices { tickWorker(index) }
      for index in clients.indices {
        for (request, message) in clients[index].tick(&random, now: now) {
          let event = Event.client(clients[index].peer, request: request, message, fresh: JobID(rawValue: random.next()))
          post(.toBroker(event))
        }
      }
      if !isCalm, core != nil, random.chance(0.003) { crashBroker() }
    }
    complaints += clients.flatMap(\.complaints) + workers.flatMap { $0.worker?.complaints ?? [] }
    for client in clients where !client.isDone {
      complaints.append("job \(client.submission.key) is not finished: \(String(describing: client.status ?? nil))")
    }
    let accepted = store.jobs.count
    if accepted > clients.count { complaints.append("\(accepted) jobs of \(clients.count) clients") }
    for job in store.jobs.values where job.ending == nil { complaints.append("job \(job.record.id) has no end") }
    return complaints
  }

  private mutating func tickWorker(_ index: Int) {
    guard var worker = workers[index].worker else {
      if now >= workers[index].returns {
        let worker = makeWorker(workers[index].stage, index)
        workers[index].worker = worker
      }
      return
    }
    if now < workers[index].frozenUntil { return }
    if !isCalm, random.chance(0.002) {
      complaints += worker.complaints
      workers[index].worker = nil
      workers[index].returns = now + Int64.random(in: 50...1_500, using: &random)
      return
    }
    if !isCalm, random.chance(0.002) {
      workers[index].frozenUntil = now + Int64.random(in: 100...2_500, using: &random)
      return
    }
    if worker.isDeaf(now: now) { worker.reconnect(as: newPeer(), now: now) }
    let peer = worker.peer
    let messages = worker.tick(&random, now: now, isCalm: isCalm)
    workers[index].worker = worker
    for message in messages { post(.toBroker(.worker(peer, message))) }
  }

  private mutating func reconnectWorker(_ index: Int) {
    let peer = newPeer()
    workers[index].worker?.reconnect(as: peer, now: now)
  }

  // MARK: The network

  private mutating func post(_ delivery: Delivery) {
    let copies = isCalm ? 1 : random.chance(0.04) ? 0 : random.chance(0.04) ? 2 : 1
    for _ in 0..<copies {
      sent += 1
      let slow = !isCalm && random.chance(0.02)
      let delay = Int64.random(in: slow ? 100...1_500 : 0...8, using: &random)
      network.insert(Envelope(time: now + delay, number: sent, brokerLife: brokerLife, delivery: delivery))
    }
  }

  private mutating func deliver() {
    while let next = network.min, next.time <= now {
      network.removeMin()
      switch next.delivery {
      case .toBroker(let event):
        if core != nil, next.brokerLife == brokerLife { tellBroker(event) }
      case .toWorker(let peer, let command):
        guard let index = workers.firstIndex(where: { $0.worker?.peer == peer }), workers[index].frozenUntil <= now else { continue }
        if workers[index].worker?.receive(command, now: now) == true { reconnectWorker(index) }
      case .toClient(let peer, let reply):
        guard let index = clients.firstIndex(where: { $0.peer == peer }) else { continue }
        clients[index].receive(reply)
      }
    }
    endTurn()
  }

  // MARK: The broker

  private mutating func startBroker() {
    brokerLife += 1
    core = BrokerCore(
      limits: limits, restoring: store.snapshot, at: Instant(milliseconds: now, unixMilliseconds: UInt64(now)))
    wake = nil
    // Its peers connect anew, under new routing ids.
    for index in workers.indices { reconnectWorker(index) }
    for index in clients.indices {
      let peer = newPeer()
      clients[index].reconnect(as: peer)
    }
    tellBroker(.tick)
  }

  private mutating func tellBroker(_ event: Event) {
    guard core != nil else { return }
    turn += core?.handle(event, at: Instant(milliseconds: now, unixMilliseconds: UInt64(now))) ?? []
    if let core, sent % 16 == 0 { checkInvariants(core) }
    for case .wake(let time) in turn { wake = time }
  }

  /// Commits the turn's records together, then sends; unless it crashes before, or on the way.
  private mutating func endTurn() {
    while !turn.isEmpty {
      let actions = turn
      turn = []
      for case .persist(let record) in actions { store.apply(record) }
      if !isCalm, random.chance(0.0005) { return crashBroker() }
      for action in actions {
        if !isCalm, random.chance(0.0002) { return crashBroker() }
        perform(action)
      }
    }
  }

  private mutating func perform(_ action: Action) {
    switch action {
    case .reply(let peer, _, let reply): post(.toClient(peer, reply))
    case .image(let peer, _, let order):
      guard let tensor = store.outputs[order.key] else {
        complaints.append("no tensor for \(order.key)")
        return
      }
      let image = FinishedImage(
        job: order.key.job, sample: order.key.sample, label: order.label, seed: order.seed, digest: order.digest.bytes,
        numerics: order.numerics, tensor: tensor)
      post(.toClient(peer, .image(image)))
    case .command(let peer, let command): post(.toWorker(peer, command))
    case .assign(let peer, let order):
      var assignment = Assignment(
        task: order.task, label: order.label, seed: order.seed, options: order.options, truncated: order.truncated)
      if let input = order.input {
        guard let tensor = store.outputs[input] else { return tellBroker(.tensorsLost(order.task, .input)) }
        assignment.lowRes = tensor
      }
      if let step = order.checkpointStep {
        guard let tensors = store.checkpoints[order.task.task] else { return tellBroker(.tensorsLost(order.task, .checkpoint)) }
        assignment.checkpoint = TaskCheckpoint(step: step, tensors: tensors)
      }
      post(.toWorker(peer, .assign(assignment)))
    case .log(let level, let text):
      if level == .critical { complaints.append(text) }
    case .persist, .wake: break
    }
  }

  private mutating func crashBroker() {
    crashes += 1
    if let core, turn.isEmpty { checkDurability(of: core) }
    core = nil
    turn = []
    wake = nil
    brokerReturns = now + Int64.random(in: 20...1_500, using: &random)
  }

  /// What the core knows and has committed is what a restart would find.
  private mutating func checkDurability(of core: BrokerCore) {
    for (id, saved) in store.jobs {
      guard let job = core.jobs[id] else {
        complaints.append("job \(id) is on disk, and nowhere else")
        continue
      }
      if job.ending != saved.ending {
        complaints.append("job \(id) ends as \(String(describing: job.ending)), not \(String(describing: saved.ending))")
      }
      for (sample, state) in zip(job.samples, saved.samples) where job.ending == nil {
        if sample.outcomes != state.outcomes || sample.attempt != state.attempt || sample.checkpoint != state.checkpoint
          || sample.failures != state.failures || (sample.phase == .leased) != state.isLeased || sample.error != state.error
        {
          complaints.append("a sample of \(id) is \(sample), and on disk \(state)")
        }
      }
    }
  }
}
