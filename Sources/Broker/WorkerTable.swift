import Wire

/// What a worker said of itself, and what never changes. One object, because every message of the worker asks for some of it.
final class WorkerProfile: Sendable {
  let peer: PeerID
  let hello: WorkerHello
  let stage: StageKey
  /// Order of arrival.
  let number: Int
  /// A worker that dials again keeps it.
  let process: WorkerProcess

  init(peer: PeerID, hello: WorkerHello, stage: StageKey, number: Int) {
    self.peer = peer
    self.hello = hello
    self.stage = stage
    self.number = number
    process = WorkerProcess(name: hello.name, boot: hello.boot)
  }
}

/// A worker that said hello.
struct Worker {
  let profile: WorkerProfile
  var lastHeard: Int64
  var lastSent: Int64
  /// Tensor bytes of the tasks it holds.
  var bytesHeld: UInt64 = 0
  var leases: Set<TaskID> = []
  var finished: UInt64 = 0
  var stepMilliseconds: Double?
  /// It computed wrongly, and gets no work.
  var isQuarantined = false
  /// Tasks taken from it because it took no step of them, and the steps they were at. Its compute may hang while its connection beats, so
  /// it gets no work until each has moved or is gone.
  var stalled: [TaskRef: UInt32] = [:]

  var peer: PeerID { profile.peer }
  var hello: WorkerHello { profile.hello }
  var stage: StageKey { profile.stage }
  var number: Int { profile.number }
  var process: WorkerProcess { profile.process }

  var mayWork: Bool { !isQuarantined && stalled.isEmpty }
  var freeSlots: Int { mayWork ? Int(hello.slots) - leases.count : 0 }
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

struct WorkerTable {
  private var byPeer: [PeerID: Worker] = [:]
  private var byProcess: [WorkerProcess: PeerID] = [:]
  private var byStage: [StageKey: [PeerID]] = [:]
  private var freeSlots: [StageKey: Int] = [:]
  private(set) var nextNumber = 0

  var count: Int { byPeer.count }
  /// In order of arrival.
  var all: [Worker] { byPeer.values.sorted { $0.number < $1.number } }

  subscript(peer: PeerID) -> Worker? { byPeer[peer] }

  func peer(of process: WorkerProcess) -> PeerID? { byProcess[process] }

  func serves(_ pipeline: PipelineTable.Key) -> Bool {
    byStage.keys.contains { $0.pipeline == pipeline }
  }

  mutating func insert(_ worker: Worker) {
    nextNumber = max(nextNumber, worker.number + 1)
    byPeer[worker.peer] = worker
    byProcess[worker.process] = worker.peer
    byStage[worker.stage, default: []].append(worker.peer)
    freeSlots[worker.stage, default: 0] += worker.freeSlots
  }

  @discardableResult
  mutating func remove(_ peer: PeerID) -> Worker? {
    guard let worker = byPeer.removeValue(forKey: peer) else { return nil }
    if byProcess[worker.process] == peer { byProcess[worker.process] = nil }
    byStage[worker.stage]?.removeAll { $0 == peer }
    if byStage[worker.stage]?.isEmpty == true { byStage[worker.stage] = nil }
    freeSlots[worker.stage, default: 0] -= worker.freeSlots
    return worker
  }

  /// Changes a worker in place, if it is there.
  mutating func update(_ peer: PeerID, _ body: (inout Worker) -> Void) {
    guard let index = byPeer.index(forKey: peer) else { return }
    let before = byPeer.values[index].freeSlots
    body(&byPeer.values[index])
    let change = byPeer.values[index].freeSlots - before
    if change != 0 { freeSlots[byPeer.values[index].stage, default: 0] += change }
  }

  /// Changes all workers in place, but not what they hold.
  mutating func updateAll(_ body: (inout Worker) -> Void) {
    for index in byPeer.values.indices { body(&byPeer.values[index]) }
  }

  func hasFreeSlot(_ stage: StageKey) -> Bool { freeSlots[stage, default: 0] > 0 }

  /// Workers of a stage that may get work.
  func count(_ stage: StageKey) -> Int { serving(stage).count }

  /// Tasks that they can hold.
  func slots(_ stage: StageKey) -> Int { serving(stage).reduce(0) { $0 + Int($1.hello.slots) } }

  private func serving(_ stage: StageKey) -> [Worker] {
    (byStage[stage] ?? []).compactMap { byPeer[$0] }.filter(\.mayWork)
  }

  /// A worker of a stage with a free slot and room for what `need` says it needs. One that can go on from the task's checkpoint is the best;
  /// then the least busy; of equals the first to arrive.
  func choose(
    _ stage: StageKey, need: (Worker) -> (bytes: UInt64, resumes: Bool), where isFit: (Worker) -> Bool = { _ in true }
  ) -> PeerID? {
    var best: (peer: PeerID, held: Int, slots: Int, resumes: Bool)?
    for peer in byStage[stage] ?? [] {
      guard let worker = byPeer[peer], worker.freeSlots > 0 else { continue }
      let held = worker.leases.count
      let slots = Int(worker.hello.slots)
      let need = need(worker)
      if let best, best.resumes == need.resumes ? held * best.slots >= best.held * slots : best.resumes { continue }
      if need.bytes <= worker.freeBytes, isFit(worker) { best = (peer, held, slots, need.resumes) }
    }
    return best?.peer
  }
}
