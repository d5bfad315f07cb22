import Wire
import ZeroMQ

/// A worker that said hello. One object, known to one table: every message of the worker asks for some of it.
final class Worker {
  let peer: PeerID
  let hello: WorkerHello
  let stage: StageKey
  /// Order of arrival.
  let number: Int
  /// A worker that dials again keeps it.
  let process: WorkerProcess
  /// Set while it is in the table.
  fileprivate(set) var crew: Crew?
  /// With which it came in; `nil`: the broker works without keys.
  let key: CurvePublicKey?
  var lastHeard: Int64
  var lastSent: Int64
  private(set) var finished: UInt64 = 0
  var stepMilliseconds: Double?
  /// What a task keeps it busy for, about; `nil`: it has finished none.
  private(set) var taskMilliseconds: Double?
  // What follows decides how much credit is free, so it changes through the table once the worker is in it.
  /// Tensor bytes of the tasks it holds.
  var bytesHeld: UInt64 = 0
  var leases: Set<TaskID> = []
  /// It computed wrongly, and gets no work.
  var isQuarantined = false
  /// Tasks taken from it because it took no step of them, and the steps they were at. Its compute may hang while its connection beats, so
  /// it gets no work until each has moved or is gone.
  var stalled: [TaskRef: UInt32] = [:]

  init(peer: PeerID, hello: WorkerHello, stage: StageKey, number: Int, key: CurvePublicKey?, at now: Int64) {
    self.peer = peer
    self.hello = hello
    self.stage = stage
    self.number = number
    process = WorkerProcess(name: hello.name, boot: hello.boot)
    self.key = key
    lastHeard = now
    lastSent = now
  }

  var mayWork: Bool { !isQuarantined && stalled.isEmpty }
  /// Tasks that it begins as soon as one of its slots is free it holds for so long: what a task needs on its way to a worker and back, through the
  /// disk, is a small part of that.
  private static let aheadMilliseconds = 100.0

  /// At least one, if it takes any.
  private var ahead: Int {
    let fitting = taskMilliseconds.map { Int(min(Self.aheadMilliseconds / max($0, 1e-3), 1e6)) } ?? 0
    return min(Int(hello.prefetch), max(1, fitting))
  }

  /// Tasks it may hold: those that it steps, and some ahead.
  var credit: Int { Int(hello.slots) + ahead }
  /// Its credit while its tasks take no time.
  var mostCredit: Int { Int(hello.slots) + Int(hello.prefetch) }
  /// It may hold more than its credit, which it was given while its tasks took less time.
  var freeCredit: Int { mayWork ? max(0, credit - leases.count) : 0 }

  /// It has finished a task.
  ///
  /// - Parameter milliseconds: of computing, which it divides among the tasks it steps together; `nil`: nobody knows.
  fileprivate func noteFinished(after milliseconds: Double?) {
    finished += 1
    if let milliseconds { taskMilliseconds = averaged(taskMilliseconds, milliseconds) }
  }

  var freeBytes: UInt64 { hello.bytes - min(hello.bytes, bytesHeld) }
}

extension [TaskRef: UInt32] {
  /// Those that a worker still has, at the steps they were at.
  func stillStalled(among running: [TaskProgress]) -> Self {
    filter { task, step in running.contains { $0.task == task && $0.step <= step } }
  }
}

struct WorkerProcess: Hashable {
  var name: String
  var boot: UInt64
}

/// An exponentially weighted average with one more measurement.
private func averaged(_ average: Double?, _ new: Double) -> Double { average.map { $0 + (new - $0) / 8 } ?? new }

struct WorkerTable {
  /// The workers of a stage, in order of arrival.
  private struct Pool {
    var workers: [Worker] = []
    var freeCredit = 0
    /// What a task keeps one of them busy for, about; `nil`: none has finished one.
    var taskMilliseconds: Double?
  }

  private var byPeer: [PeerID: Worker] = [:]
  private var byProcess: [WorkerProcess: PeerID] = [:]
  private var pools: [StageKey: Pool] = [:]
  private var crews: [Crew.Key: Crew] = [:]
  private(set) var nextNumber = 0

  var count: Int { byPeer.count }
  /// In order of arrival.
  var all: [Worker] { byPeer.values.sorted { $0.number < $1.number } }

  subscript(peer: PeerID) -> Worker? { byPeer[peer] }

  func peer(of process: WorkerProcess) -> PeerID? { byProcess[process] }

  func serves(_ pipeline: PipelineTable.Key) -> Bool {
    pools.keys.contains { $0.pipeline == pipeline }
  }

  mutating func insert(_ worker: Worker) {
    nextNumber = max(nextNumber, worker.number + 1)
    byPeer[worker.peer] = worker
    byProcess[worker.process] = worker.peer
    pools[worker.stage, default: Pool()].workers.append(worker)
    pools[worker.stage]?.freeCredit += worker.freeCredit
    let key = Crew.Key(worker.hello)
    let crew = crews[key].flatMap { $0.mayHave(worker) ? $0 : nil } ?? Crew()
    crew.add(worker)
    crews[key] = crew
    worker.crew = crew
  }

  @discardableResult
  mutating func remove(_ peer: PeerID) -> Worker? {
    guard let worker = byPeer.removeValue(forKey: peer) else { return nil }
    if byProcess[worker.process] == peer { byProcess[worker.process] = nil }
    pools[worker.stage]?.workers.removeAll { $0 === worker }
    pools[worker.stage]?.freeCredit -= worker.freeCredit
    if pools[worker.stage]?.workers.isEmpty == true { pools[worker.stage] = nil }
    if let crew = worker.crew {
      crew.remove(worker)
      let key = Crew.Key(worker.hello)
      if crew.workers.isEmpty, crews[key] === crew { crews[key] = nil }
    }
    worker.crew = nil
    return worker
  }

  /// Changes a worker, if it is there.
  mutating func update(_ peer: PeerID, _ body: (Worker) -> Void) {
    if let worker = byPeer[peer] { update(worker, body) }
  }

  /// Changes a worker of this table.
  mutating func update(_ worker: Worker, _ body: (Worker) -> Void) {
    let before = worker.freeCredit
    body(worker)
    let change = worker.freeCredit - before
    if change != 0 { pools[worker.stage]?.freeCredit += change }
  }

  /// A worker of this table has finished a task.
  ///
  /// - Parameter milliseconds: of computing, which it divides among the tasks it steps together; as it says, so it may be anything.
  mutating func noteFinished(_ worker: Worker, after milliseconds: Double) {
    let known = milliseconds >= 0 && milliseconds.isFinite ? milliseconds : nil
    update(worker) { $0.noteFinished(after: known) }
    guard let known, let before = pools[worker.stage] else { return }
    pools[worker.stage]?.taskMilliseconds = averaged(before.taskMilliseconds, known)
  }

  /// Changes all workers, but not what they hold.
  func updateAll(_ body: (Worker) -> Void) {
    for worker in byPeer.values { body(worker) }
  }

  /// Processes that serve several stages, or may.
  var crewCount: Int { crews.count }

  func hasCredit(_ stage: StageKey) -> Bool { (pools[stage]?.freeCredit ?? 0) > 0 }

  /// Workers of a stage that may get work.
  func count(_ stage: StageKey) -> Int { serving(stage).count }

  /// Tasks that they step together.
  func slots(_ stage: StageKey) -> Int { serving(stage).reduce(0) { $0 + Int($1.hello.slots) } }

  private func serving(_ stage: StageKey) -> [Worker] {
    pools[stage]?.workers.filter(\.mayWork) ?? []
  }

  /// What a task of its stage keeps a worker busy for, about; 0: nobody has finished one.
  private func taskMilliseconds(_ worker: Worker) -> Double {
    worker.taskMilliseconds ?? pools[worker.stage]?.taskMilliseconds ?? 0
  }

  /// How long a worker's process will be busy with all that it holds and one more task of the worker's stage; then its tasks by slots.
  private func load(withOneMore worker: Worker) -> (milliseconds: Double, tasks: Double) {
    let workers = worker.crew?.workers ?? []
    let milliseconds = workers.reduce(taskMilliseconds(worker)) { $0 + Double($1.leases.count) * taskMilliseconds($1) }
    let held = workers.reduce(0) { $0 + $1.leases.count }
    let slots = workers.reduce(0) { $0 + Int($1.hello.slots) }
    return (milliseconds, Double(held) / Double(slots))
  }

  /// A worker of a stage with a free slot and room for what `need` says it needs. One that can go on from the task's checkpoint is the best;
  /// then the one whose process will be through with everything the soonest; of equals the one with fewest tasks, then the first to arrive.
  ///
  /// - Parameter backlog: how many tasks wait for the stage. A worker without a free slot is given one ahead only if enough are left for all
  ///   others, for it waits there even if another worker has nothing to do.
  func choose(
    _ stage: StageKey, backlog: Int, need: (Worker) -> Worker.Need, where isFit: (Worker) -> Bool = { _ in true }
  ) -> Worker? {
    lazy var allSlots = slots(stage)
    var best: (worker: Worker, resumes: Bool, load: (milliseconds: Double, tasks: Double))?
    for worker in pools[stage]?.workers ?? [] where worker.freeCredit > 0 {
      let slots = Int(worker.hello.slots)
      guard worker.leases.count < slots || backlog > allSlots - slots else { continue }
      let need = need(worker)
      let load = load(withOneMore: worker)
      if let best, best.resumes == need.resumes ? load >= best.load : best.resumes { continue }
      if need.bytes <= worker.freeBytes, isFit(worker) { best = (worker, need.resumes, load) }
    }
    return best?.worker
  }
}
