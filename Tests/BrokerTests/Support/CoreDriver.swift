import Load
import Logging
import Testing
import Wire

@testable import Broker

/// A core under a virtual clock, with a store for its records. What it sends is kept until the test takes it.
final class CoreDriver {
  var core: BrokerCore
  var store = JournalModel()
  var now: Int64 = 1_000
  var replies: [(peer: PeerID, request: UInt64, reply: ClientReply)] = []
  var commands: [(peer: PeerID, command: WorkerCommand)] = []
  /// All that was written so far.
  var records: [Record] = []
  var logs: [(level: String, text: String)] = []
  private var wake: Int64?
  private var nextJob: UInt64 = 100
  private let limits: BrokerLimits
  private let draftBytes: Int
  private var drafts: DraftMemory
  private let access: AccessList?
  /// Of the messages that follow.
  var sender = Sender()

  /// - Parameter draftBytes: for drafts that are not written.
  init(_ limits: BrokerLimits = BrokerLimits(), access: AccessList? = nil, draftBytes: Int = 0) {
    self.draftBytes = draftBytes
    drafts = DraftMemory(limit: draftBytes)
    self.limits = limits
    self.access = access
    core = BrokerCore(limits: limits, access: access, at: Instant(milliseconds: 1_000, unixMilliseconds: 1_000_000))
  }

  var instant: Instant { Instant(milliseconds: now, unixMilliseconds: UInt64(now) + 1_000_000) }

  func handle(_ event: Event) {
    var messages: [Action] = []
    for action in core.handle(event, from: sender, at: instant) {
      switch action {
      case .persist(let record):
        let written = drafts.take(record)
        store.apply(written)
        records.append(written)
      case .wake(let time): wake = time
      case .log(let level, let text): logs.append((level.rawValue, text))
      case .reply, .image, .history, .command, .assign: messages.append(action)
      }
    }
    for message in messages {
      switch message {
      case .reply(let peer, let request, let reply): replies.append((peer, request, reply))
      case .image(let peer, let request, let order): deliver(order, peer, request)
      case .history(let peer, let request, let job, let sample, let running):
        let over = store.attempts.filter { $0.key.task.job == job && $0.key.task.sample >= sample }.map(\.value)
        let all = (over + running).sorted { ($0.sample, $0.stage, $0.number) < ($1.sample, $1.stage, $1.number) }
        replies.append((peer, request, .history(core.withDigests(all, of: job))))
      case .command(let peer, let command): commands.append((peer, command))
      case .assign(let peer, let order): deliver(order, peer)
      case .persist, .wake, .log: break
      }
    }
    #expect(core.audit().isEmpty)
    #expect(store.faults.isEmpty)
  }

  private func deliver(_ order: ImageOrder, _ peer: PeerID, _ request: UInt64) {
    guard let tensor = drafts[order.key] ?? store.outputs[order.key] else {
      Issue.record("no tensor for \(order)")
      return
    }
    #expect(tensor.digest == order.digest.bytes)
    let image = FinishedImage(
      job: order.key.job, sample: order.key.sample, label: order.label, seed: order.seed, digest: order.digest.bytes,
      numerics: order.numerics, stage: order.stage, tensor: tensor)
    replies.append((peer, request, .image(image)))
  }

  private func deliver(_ order: AssignOrder, _ peer: PeerID) {
    var assignment = Assignment(
      task: order.task, label: order.label, seed: order.seed, options: order.options, truncated: order.truncated)
    if let input = order.input {
      guard let tensor = drafts[input] ?? store.outputs[input] else {
        return handle(.tensorsLost(order.task, store.unwritten[input] == nil ? .input : .draft))
      }
      assignment.lowRes = tensor
    }
    if let step = order.checkpointStep {
      guard let tensors = store.checkpoints[order.task.task] else { return handle(.tensorsLost(order.task, .checkpoint)) }
      assignment.checkpoint = TaskCheckpoint(step: step, tensors: tensors)
    }
    commands.append((peer, .assign(assignment)))
  }

  /// Lets time pass, and the timers in it fire.
  func pass(_ milliseconds: Int64, beating peers: PeerID...) {
    let end = now + milliseconds
    while now < end {
      now = min(end, max(now + 1, min(wake ?? end, now + 100)))
      for peer in peers { handle(.worker(peer, .beat(running: []))) }
      if let wake, wake <= now {
        self.wake = nil
        handle(.tick)
      }
    }
  }

  /// The broker is killed and started again on its records.
  func restart() {
    drafts = DraftMemory(limit: draftBytes)
    core = BrokerCore(limits: limits, access: access, restoring: store.snapshot, at: instant)
    wake = nil
    replies = []
    commands = []
    handle(.tick)
  }

  // MARK: Clients

  @discardableResult
  func ask(_ request: ClientRequest, from peer: PeerID = "client", number: UInt64 = 1) -> ClientReply? {
    nextJob += 1
    let count = replies.count
    handle(.client(peer, request: number, request, fresh: JobID(rawValue: nextJob)))
    guard replies.count > count else { return nil }
    return replies.remove(at: count).reply
  }

  func submit(
    _ count: UInt32 = 1, label: String = "clay", seed: UInt64 = 5, options: [StageOptions] = [], key: String = "", pipeline: String = ""
  ) -> JobID {
    let reply = ask(
      .submit(Submission(pipeline: pipeline, runs: [SampleRun(label: label, seed: seed, count: count)], options: options, key: key)))
    guard case .accepted(let acceptance) = reply else {
      Issue.record("not accepted: \(String(describing: reply))")
      return JobID(rawValue: 0)
    }
    return acceptance.job
  }

  func refusal(_ request: ClientRequest) -> Refusal? {
    guard case .refused(let refusal) = ask(request) else { return nil }
    return refusal
  }

  func maySend(_ order: ImageOrder) -> Bool { core.maySend(order) }

  func status(_ job: JobID) -> JobStatus? {
    guard case .jobs(let jobs) = ask(.status(job, limit: 0)) else { return nil }
    return jobs.first
  }

  // MARK: Workers

  func hello(_ peer: PeerID, _ hello: WorkerHello) { handle(.worker(peer, .hello(hello))) }

  func takeCommands(_ peer: PeerID) -> [WorkerCommand] {
    let taken = commands.filter { $0.peer == peer }.map(\.command)
    commands.removeAll { $0.peer == peer }
    return taken
  }

  /// The assignments that a worker was sent and that were not taken yet.
  func takeAssignments(_ peer: PeerID) -> [Assignment] {
    takeCommands(peer).compactMap { if case .assign(let assignment) = $0 { assignment } else { nil } }
  }

  /// What a worker sends when it is done.
  func result(_ assignment: Assignment, pipeline: PipelineInfo) -> TaskResult {
    let stage = Int(assignment.task.task.stage)
    var state = Oracle.begin(label: assignment.label, seed: assignment.seed, stage: stage, input: assignment.lowRes)
    for step in 1...(assignment.options[stage].steps ?? 1) { state = Oracle.step(state, step) }
    let output = Oracle.output(
      state, resolution: pipeline.stages[stage].resolution, name: assignment.truncated && stage == 0 ? "z_s" : "x0")
    return TaskResult(task: assignment.task, digest: output.digest, computeMilliseconds: 1, tensor: output)
  }

  func finish(_ assignment: Assignment, at peer: PeerID, pipeline: PipelineInfo) {
    handle(.worker(peer, .result(result(assignment, pipeline: pipeline))))
  }

  /// Has these workers, one a stage, do everything that is assigned to them and follows from it.
  func drain(_ peers: [PeerID], pipeline: PipelineInfo) {
    var busy = true
    while busy {
      busy = false
      for peer in peers {
        for assignment in takeAssignments(peer) {
          finish(assignment, at: peer, pipeline: pipeline)
          busy = true
        }
      }
    }
  }
}
