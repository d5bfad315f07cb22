import HeapModule
import Testing
import Wire

@testable import Broker

/// A core with workers that take exactly as long as they should, under a virtual clock: nothing fails, and what is measured is the order of
/// work.
final class VirtualFleet {
  private struct Due: Comparable {
    enum What {
      case finish(PeerID, Assignment, Double)
      case arrive(Int)
    }

    var time: Int64
    var number: Int
    var what: What

    static func < (a: Self, b: Self) -> Bool { (a.time, a.number) < (b.time, b.number) }
    static func == (a: Self, b: Self) -> Bool { a.number == b.number }
  }

  struct Arrival {
    var time: Int64
    var submission: Submission
  }

  let pipeline: PipelineInfo
  /// Milliseconds of a step, by stage.
  let stepMilliseconds: [Double]
  private(set) var core: BrokerCore
  private var outputs: [TensorKey: WireTensor] = [:]
  private(set) var now: Int64 = 0
  private var dues = Heap<Due>()
  private var number = 0
  private var wake: Int64?
  private var revoked: Set<TaskRef> = []
  private(set) var jobs: [Int: JobID] = [:]
  private(set) var refused: [Int: Refusal] = [:]
  private(set) var ended: [JobID: (state: JobState, time: Int64)] = [:]
  /// Milliseconds of work done, by tenant.
  private(set) var workDone: [String: Double] = [:]
  /// Work that was given up half-done or finished for nothing, by job.
  private(set) var workStarted: [JobID: Double] = [:]
  private var tenants: [JobID: String] = [:]
  /// Longest queue before a stage that was seen.
  private(set) var longestQueue: [Int: Int] = [:]
  private let workers: Int

  init(_ limits: BrokerLimits = BrokerLimits(), stages: [(steps: UInt32, milliseconds: Double, workers: Int)]) {
    var pipeline = makePipeline(stages: stages.count)
    for (index, stage) in stages.enumerated() {
      pipeline.stages[index].defaultSteps = stage.steps
      pipeline.stages[index].resolution = 1
    }
    self.pipeline = pipeline
    stepMilliseconds = stages.map(\.milliseconds)
    workers = stages.reduce(0) { $0 + $1.workers }
    var limits = limits
    // Nothing beats here.
    limits.beatMilliseconds = 1 << 30
    limits.deadMilliseconds = 1 << 31
    limits.maxSamplesPerJob = 100_000
    limits.maxOpenTasks = 1_000_000
    limits.maxOpenTasksPerTenant = 1_000_000
    core = BrokerCore(limits: limits, at: Instant(milliseconds: 0, unixMilliseconds: 1_000_000))
    for (stage, many) in stages.enumerated() {
      for copy in 0..<many.workers {
        handle(.worker(PeerID([UInt8(stage), UInt8(copy)]), .hello(makeHello("w\(stage).\(copy)", pipeline: pipeline, stage: stage))))
      }
    }
  }

  func run(_ arrivals: [Arrival], until end: Int64) {
    for (index, arrival) in arrivals.enumerated() { post(arrival.time, .arrive(index)) }
    while let time = [dues.min?.time, wake].compactMap({ $0 }).min(), time <= end {
      now = max(now, time)
      if let wake, wake <= now {
        self.wake = nil
        handle(.tick)
      }
      while let due = dues.min, due.time <= now {
        dues.removeMin()
        switch due.what {
        case .arrive(let index):
          handle(
            .client("client", request: UInt64(index), .submit(arrivals[index].submission), fresh: JobID(rawValue: UInt64(index) + 1)))
        case .finish(let peer, let assignment, let cost): finish(assignment, peer, cost)
        }
      }
    }
  }

  private func post(_ time: Int64, _ what: Due.What) {
    number += 1
    dues.insert(Due(time: time, number: number, what: what))
  }

  private func finish(_ assignment: Assignment, _ peer: PeerID, _ cost: Double) {
    guard !revoked.contains(assignment.task) else { return }
    let task = assignment.task.task
    workDone[tenants[task.job] ?? "", default: 0] += cost
    let output = Oracle.output(task.job.rawValue &* 31 &+ UInt64(task.sample), resolution: 1)
    handle(.worker(peer, .result(TaskResult(task: assignment.task, digest: output.digest, computeMilliseconds: cost, tensor: output))))
  }

  private func handle(_ event: Event) {
    for action in core.handle(event, at: Instant(milliseconds: now, unixMilliseconds: UInt64(now) + 1_000_000)) {
      switch action {
      case .persist(.stageDone(let task, _, let output)), .persist(.draftDone(let task, _, let output)):
        outputs[TensorKey(job: task.job, sample: task.sample, stage: task.stage)] = output
      case .persist(.accepted(let record)): tenants[record.id] = record.terms.tenant
      case .persist(.finished(let job, let state, _)): ended[job] = (state, now)
      case .reply(_, let request, .accepted(let acceptance)): jobs[Int(request)] = acceptance.job
      case .reply(_, let request, .refused(let refusal)): refused[Int(request)] = refusal
      case .command(_, .revoke(let ref)): revoked.insert(ref)
      case .assign(let peer, let order):
        let stage = Int(order.task.task.stage)
        let cost = Double(order.options[stage].steps ?? 0) * stepMilliseconds[stage]
        workStarted[order.task.task.job, default: 0] += cost
        post(
          now + Int64(cost.rounded()),
          .finish(
            peer, Assignment(task: order.task, label: order.label, seed: order.seed, options: order.options, truncated: order.truncated),
            cost))
      case .wake(let time): wake = time
      default: break
      }
    }
    for stage in pipeline.stages.indices {
      let waiting = core.jobs.backlog[StageKey(pipeline: 0, stage: stage)].waiting
      longestQueue[stage] = max(longestQueue[stage] ?? 0, waiting)
    }
  }
}
