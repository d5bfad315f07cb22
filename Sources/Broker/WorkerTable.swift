import Wire
import ZeroMQ

struct WorkerTable {
  /// The workers of a stage, in order of arrival.
  private struct Pool {
    var workers: [Worker] = []
    var freeCredit = 0
    /// What a task keeps one of them busy for.
    var taskMilliseconds = RunningAverage(share: 0.125)
  }

  private var byPeer: [PeerID: Worker] = [:]
  private var byIdentity: [WorkerIdentity: PeerID] = [:]
  private var pools: [StageKey: Pool] = [:]
  private var crews: [Crew.Key: Crew] = [:]
  private(set) var nextNumber = 0

  var count: Int { byPeer.count }
  /// In order of arrival.
  var all: [Worker] { byPeer.values.sorted { $0.number < $1.number } }

  subscript(peer: PeerID) -> Worker? { byPeer[peer] }

  func peer(of identity: WorkerIdentity) -> PeerID? { byIdentity[identity] }

  func serves(_ pipeline: PipelineTable.Key) -> Bool {
    pools.keys.contains { $0.pipeline == pipeline }
  }

  mutating func insert(_ worker: Worker) {
    nextNumber = max(nextNumber, worker.number + 1)
    byPeer[worker.peer] = worker
    byIdentity[worker.identity] = worker.peer
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
    if byIdentity[worker.identity] == peer { byIdentity[worker.identity] = nil }
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
    if let known { pools[worker.stage]?.taskMilliseconds.add(known) }
  }

  /// Changes all workers, but not what they hold.
  func updateAll(_ body: (Worker) -> Void) {
    for worker in byPeer.values { body(worker) }
  }

  /// Processes that have workers.
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
    worker.taskMilliseconds.value ?? pools[worker.stage]?.taskMilliseconds.value ?? 0
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
