import Synchronization
import Testing
import Wire

@testable import Worker

/// When tasks join and leave, step by step.
@Suite struct BatchTests {
  private final class Log {
    var events: [ComputeEvent] = []
  }

  private let log = Log()
  private var batch: Batch

  init() throws { batch = try Self.batch(.step, log) }

  private static func batch(_ batching: Batching, _ log: Log) throws -> Batch {
    Batch(
      engine: try SyntheticEngine(stage: "base32", stepMilliseconds: 0), slots: 2, batching: batching, now: { .zero },
      report: { log.events.append($0) })
  }

  private mutating func start(_ steps: [UInt32], after first: UInt32 = 0) {
    for (index, steps) in steps.enumerated() {
      let sample = first + UInt32(index)
      batch.obey(.start(assignment(ref(sample), seed: UInt64(sample), steps: steps)))
    }
  }

  /// The samples that a step moved.
  private mutating func step() -> [UInt32] {
    let before = log.events.count
    batch.step()
    return log.events[before...].flatMap { event -> [UInt32] in
      if case .stepped(let progress, _) = event { progress.map(\.task.task.sample) } else { [] }
    }
  }

  private var finished: [UInt32] {
    log.events.compactMap { if case .finished(let result, _) = $0 { result.task.task.sample } else { nil } }
  }

  @Test mutating func stepByStepATaskJoinsAsSoonAsASlotIsFree() {
    start([1, 4, 1, 2])
    #expect(step() == [0, 1])
    #expect(step() == [1, 2])
    #expect(step() == [1, 3])
    // One that comes while there is no room waits, and one that comes later joins in the middle.
    start([3], after: 4)
    #expect(step() == [1, 3])
    #expect(step() == [4])
    start([1], after: 5)
    #expect(step() == [4, 5])
    #expect(step() == [4])
    #expect(step() == [] && batch.isIdle)
    #expect(finished == [0, 2, 1, 3, 5, 4])
  }

  @Test mutating func byRequestNothingJoinsUntilAllHaveEnded() throws {
    batch = try Self.batch(.request, log)
    start([1, 3, 1])
    #expect(step() == [0, 1])
    #expect(step() == [1])
    start([2], after: 3)
    #expect(step() == [1])
    #expect(step() == [2, 3])
    #expect(step() == [3])
    // A batch is filled with what is there: it waits for nothing.
    start([2], after: 4)
    #expect(step() == [4])
    start([1], after: 5)
    #expect(step() == [4])
    #expect(step() == [5] && batch.isIdle)
    #expect(finished == [0, 1, 2, 3, 4, 5])
  }

  @Test mutating func byRequestTheNextBatchBeginsWhenTheLastTaskIsGone() throws {
    batch = try Self.batch(.request, log)
    start([9, 9, 1, 1])
    #expect(step() == [0, 1])
    batch.obey(.drop(ref(0)))
    #expect(step() == [1])
    batch.obey(.drop(ref(1)))
    #expect(step() == [2, 3])
    // A task that cannot be begun leaves its place to another.
    batch.obey(.start(assignment(ref(4), label: 99)))
    start([1, 1], after: 5)
    #expect(step() == [5, 6])
    #expect(log.events.contains { if case .failed(ref(4), _, permanent: true) = $0 { true } else { false } })
  }

  @Test(arguments: Batching.allCases) mutating func bothGiveTheSameBytes(_ batching: Batching) throws {
    batch = try Self.batch(batching, log)
    let steps: [UInt32] = [5, 1, 9, 4, 2, 7, 3]
    start(steps)
    while !batch.isIdle { batch.step() }
    var results: [UInt32: WireTensor] = [:]
    for case .finished(let result, _) in log.events { results[result.task.task.sample] = result.tensor }
    for (sample, steps) in steps.enumerated() {
      let options = [StageOptions(stage: "base32", steps: steps)]
      #expect(results[UInt32(sample)] == (try SyntheticEngine.reference(label: 0, seed: UInt64(sample), options: options, stage: 0)))
    }
  }

  /// A step's time is divided by the passes through the network that it made.
  @Test func timeIsSharedByPasses() {
    final class Run: TaskRun {
      let passes: Int
      let steps = 2
      var step = 0

      init(passes: Int) { self.passes = passes }

      func checkpoint() throws -> TaskCheckpoint { TaskCheckpoint(step: UInt32(step), tensors: []) }
      func result() throws -> WireTensor { try WireTensor(name: "x0", floats: [0, 0, 0], shape: [3, 1, 1]) }
    }
    /// Odd samples are guided.
    final class Guided: Engine {
      let info = EngineInfo(pipeline: SyntheticEngine.pipeline, stage: 0, numerics: "test", slots: 4)

      func begin(_ assignment: Assignment) -> any TaskRun { Run(passes: assignment.task.task.sample % 2 == 0 ? 1 : 2) }
      func advance(_ runs: [any TaskRun]) { for case let run as Run in runs { run.step += 1 } }
    }
    let log = log
    var calls = 0
    // Each step takes 400 ms.
    func now() -> Duration {
      calls += 1
      return .milliseconds(400 * (calls / 2))
    }
    var batch = Batch(engine: Guided(), slots: 4, now: now, report: { log.events.append($0) })
    for sample in [0, 1, 2] as [UInt32] { batch.obey(.start(assignment(ref(sample)))) }
    while !batch.isIdle { batch.step() }
    let times = log.events.compactMap { if case .stepped(_, let milliseconds) = $0 { milliseconds } else { nil } }
    let shares = log.events.compactMap { if case .finished(let result, _) = $0 { result.computeMilliseconds } else { nil } }
    #expect(times == [100, 100] && shares == [200, 400, 200])
  }

  @Test func aDrainWaitsForResultsThatAreBeingMade() throws {
    let events = Mutex<[ComputeEvent]>([])
    var batch = Batch(
      engine: try SyntheticEngine(stage: "base32", stepMilliseconds: 0), slots: 64, results: ResultThread(),
      report: { event in events.withLock { $0.append(event) } })
    for sample in 0..<40 as Range<UInt32> { batch.obey(.start(assignment(ref(sample), seed: UInt64(sample), steps: 1))) }
    batch.step()
    batch.obey(.drain)
    let reported = events.withLock { $0 }
    let results = reported.compactMap { if case .finished(let result, _) = $0 { result } else { nil } }
    #expect(results.map(\.task.task.sample) == Array(0..<40))
    #expect(reported.last == .drained)
    for result in results {
      let options = [StageOptions(stage: "base32", steps: 1)]
      let seed = UInt64(result.task.task.sample)
      #expect(result.tensor == (try SyntheticEngine.reference(label: 0, seed: seed, options: options, stage: 0)))
    }
  }

  @Test(arguments: Batching.allCases) mutating func aDrainHandsEverythingBack(_ batching: Batching) throws {
    batch = try Self.batch(batching, log)
    start([5, 5, 5])
    _ = step()
    batch.obey(.drain)
    let saved = log.events.compactMap { if case .checkpoint(let task, let state) = $0 { [task.task.sample, state.step] } else { nil } }
    #expect(saved == [[0, 1], [1, 1]] && log.events.last == .drained && batch.isIdle)
  }
}
