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
  let identity: WorkerIdentity
  /// Set while it is in the table.
  var crew: Crew?
  /// With which it came in; `nil`: the broker works without keys.
  let key: CurvePublicKey?
  var lastHeard: Int64
  var lastSent: Int64
  private(set) var finished: UInt64 = 0
  var stepMilliseconds: Double?
  /// What a task keeps it busy for.
  private(set) var taskMilliseconds = RunningAverage(share: 0.125)
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
    identity = WorkerIdentity(name: hello.name, boot: hello.boot)
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
    let fitting = taskMilliseconds.value.map { Int(min(Self.aheadMilliseconds / max($0, 1e-3), 1e6)) } ?? 0
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
  func noteFinished(after milliseconds: Double?) {
    finished += 1
    if let milliseconds { taskMilliseconds.add(milliseconds) }
  }

  var freeBytes: UInt64 { hello.bytes - min(hello.bytes, bytesHeld) }
}

extension [TaskRef: UInt32] {
  /// Those that a worker still has, at the steps they were at.
  func stillStalled(among running: [TaskProgress]) -> Self {
    filter { task, step in running.contains { $0.task == task && $0.step <= step } }
  }
}

/// What a worker is, wherever it dials from: a stage of a process.
struct WorkerIdentity: Hashable {
  var name: String
  var boot: UInt64
}
