import Wire

@testable import Broker

/// A worker process: it dials, says hello, steps its tasks, checkpoints, and sends what is not settled again and again.
struct SimulatedWorker {
  private struct Running {
    var assignment: Assignment
    var step: UInt32
    var state: UInt64
    var steps: UInt32
  }

  let name: String
  let boot: UInt64
  let pipeline: PipelineInfo
  let stage: Int
  let numerics: String
  let slots: UInt32
  /// Of the connection it has now.
  private(set) var peer: PeerID
  private var isWelcome = false
  private var lastHello: Int64 = -10_000
  private var lastBeat: Int64 = 0
  private var lastHeard: Int64
  private var running: [TaskRef: Running] = [:]
  private var unsettled: [TaskRef: (message: WorkerMessage, sent: Int64)] = [:]
  /// Faults found by the worker itself.
  private(set) var complaints: [String] = []

  var stepsTaken = 0

  init(_ name: String, boot: UInt64, pipeline: PipelineInfo, stage: Int, numerics: String, slots: UInt32, peer: PeerID, now: Int64) {
    self.name = name
    self.boot = boot
    self.pipeline = pipeline
    self.stage = stage
    self.numerics = numerics
    self.slots = slots
    self.peer = peer
    lastHeard = now
  }

  mutating func reconnect(as peer: PeerID, now: Int64) {
    self.peer = peer
    isWelcome = false
    lastHello = -10_000
    lastHeard = now
  }

  /// True: it has heard nothing for too long, or was told to go, and needs a new connection.
  mutating func receive(_ command: WorkerCommand, now: Int64) -> Bool {
    lastHeard = now
    switch command {
    case .welcome: isWelcome = true
    case .assign(let assignment): begin(assignment)
    case .revoke(let ref):
      running[ref] = nil
      unsettled[ref] = nil
    case .settled(let ref): unsettled[ref] = nil
    case .disconnect: return true
    case .drain, .beat: break
    }
    return false
  }

  func isDeaf(now: Int64) -> Bool { now - lastHeard > 2_000 }

  private mutating func begin(_ assignment: Assignment) {
    let ref = assignment.task
    guard running[ref] == nil, unsettled[ref] == nil else { return }
    for older in running.keys where older.task == ref.task { running[older] = nil }
    if Int(ref.task.stage) != stage { complaints.append("\(ref) is of another stage") }
    if (assignment.lowRes == nil) != (stage == 0) { complaints.append("\(ref) has the wrong input") }
    let input = assignment.lowRes
    var step: UInt32 = 0
    var state = Oracle.begin(label: assignment.label, seed: assignment.seed, stage: stage, input: input)
    if let checkpoint = assignment.checkpoint {
      for number in 1...checkpoint.step { state = Oracle.step(state, number) }
      step = checkpoint.step
      if checkpoint.tensors.map(BrokerTests.state(of:)) != [state] { complaints.append("\(ref) got a checkpoint that is not its own") }
    }
    running[ref] = Running(assignment: assignment, step: step, state: state, steps: assignment.options[stage].steps ?? 1)
  }

  /// What it does every few milliseconds. What it returns may get lost.
  mutating func tick(_ random: inout SplitMix64, now: Int64, isCalm: Bool) -> [WorkerMessage] {
    var messages: [WorkerMessage] = []
    for ref in running.keys.sorted(by: { TaskID.isOlder($0.task, $1.task) }) {
      guard var task = running[ref], random.chance(0.7) else { continue }
      if !isCalm, random.chance(0.01) {
        running[ref] = nil
        unsettled[ref] = (.failure(ref, reason: "bad luck", permanent: false), -10_000)
        continue
      }
      task.step += 1
      task.state = Oracle.step(task.state, task.step)
      stepsTaken += 1
      if task.step == task.steps {
        running[ref] = nil
        var output = Oracle.output(task.state, resolution: pipeline.stages[stage].resolution)
        let digest = output.digest
        if !isCalm, random.chance(0.02) { output = Oracle.output(task.state &+ 1, resolution: pipeline.stages[stage].resolution) }
        unsettled[ref] = (
          .result(TaskResult(task: ref, digest: digest, computeMilliseconds: 1, tensor: output)), -10_000
        )
        continue
      }
      running[ref] = task
      if isWelcome, random.chance(0.3) {
        let progress = TaskProgress(ref, step: task.step)
        messages.append(.progress(progress, stepMilliseconds: 1))
        if random.chance(0.5) {
          messages.append(.checkpoint(ref, TaskCheckpoint(step: task.step, tensors: [checkpointTensor(task.state)])))
        }
      }
    }
    guard isWelcome else {
      if now - lastHello >= 300 {
        lastHello = now
        let hello = WorkerHello(
          name: name, boot: boot, pipeline: pipeline, stage: pipeline.stages[stage].name, numerics: numerics, slots: slots, bytes: 1 << 20,
          host: "sim", pid: 1, running: progress)
        messages.append(.hello(hello))
      }
      return messages
    }
    for ref in unsettled.keys.sorted(by: { TaskID.isOlder($0.task, $1.task) }) where now - (unsettled[ref]?.sent ?? now) >= 400 {
      unsettled[ref]?.sent = now
      if let message = unsettled[ref]?.message { messages.append(message) }
    }
    if now - lastBeat >= 200 {
      lastBeat = now
      messages.append(.beat(running: progress))
    }
    return messages
  }

  private var progress: [TaskProgress] {
    let done = unsettled.keys.map { TaskProgress($0, step: 0) }
    return (running.map { TaskProgress($0.key, step: $0.value.step) } + done).sorted { TaskID.isOlder($0.task.task, $1.task.task) }
  }
}
