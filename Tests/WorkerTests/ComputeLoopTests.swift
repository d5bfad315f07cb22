import Dispatch
import Testing
import Wire
import Worker

/// What a compute loop reports, in order.
struct Reports: ~Copyable {
  let loop = ComputeLoop()
  private var iterator: AsyncStream<ComputeEvent>.Iterator

  init(slots: Int, makeEngine: @escaping @Sendable () throws -> any Engine) async throws {
    let (stream, sink) = AsyncStream.makeStream(of: ComputeEvent.self)
    iterator = stream.makeAsyncIterator()
    _ = try await loop.start(slots: slots, makeEngines: [makeEngine]) { _, event in sink.yield(event) }
  }

  deinit { loop.leave() }

  mutating func next() async throws -> ComputeEvent { try #require(await iterator.next(isolation: #isolation)) }

  /// Everything up to and including the first that fits.
  mutating func until(_ fits: (ComputeEvent) -> Bool) async throws -> [ComputeEvent] {
    var seen: [ComputeEvent] = []
    while true {
      let event = try await next()
      seen.append(event)
      if fits(event) { return seen }
    }
  }

  /// The tensors of the next `count` results, by task.
  mutating func results(_ count: Int) async throws -> [TaskRef: WireTensor] {
    var results: [TaskRef: WireTensor] = [:]
    while results.count < count {
      switch try await next() {
      case .finished(let result, _):
        #expect(result.digest == result.tensor.digest)
        results[result.task] = result.tensor
      case .failed(let task, let reason, _): Issue.record("\(task) failed: \(reason)")
      default: break
      }
    }
    return results
  }
}

@Suite(.timeLimit(.minutes(1))) struct ComputeLoopTests {
  @Test func computesEveryStageAsTheReferenceDoes() async throws {
    let stages = SyntheticEngine.pipeline.stages
    var input: WireTensor?
    for (index, stage) in stages.enumerated() {
      var reports = try await Reports(slots: 4) { try SyntheticEngine(stage: stage.name, stepMilliseconds: 0) }
      let task = ref(1, stage: UInt32(index))
      var work = assignment(task, label: 3, seed: 99)
      work.options = stages.map { StageOptions(stage: $0.name, steps: 3) }
      work.lowRes = try input.map { try WireTensor(name: "low_res", dtype: .f32, shape: $0.shape, data: $0.data) }
      reports.loop.post(.start(work))
      let output = try #require(await reports.results(1)[task])
      #expect(output == (try SyntheticEngine.reference(label: 3, seed: 99, options: work.options, stage: index)))
      #expect(output.floats().allSatisfy { $0 >= -1 && $0 < 1 })
      input = output
    }
  }

  @Test func mixesTasksAtDifferentSteps() async throws {
    var reports = try await Reports(slots: 3) { try SyntheticEngine(stage: "base32", stepMilliseconds: 0) }
    let steps: [UInt32] = [5, 1, 9, 4, 2, 7, 3]
    for (sample, steps) in steps.enumerated() {
      reports.loop.post(.start(assignment(ref(UInt32(sample)), label: UInt32(sample), seed: UInt64(sample), steps: steps)))
    }
    let results = try await reports.results(steps.count)
    for (sample, steps) in steps.enumerated() {
      let expected = try SyntheticEngine.reference(
        label: UInt32(sample), seed: UInt64(sample), options: [StageOptions(stage: "base32", steps: steps)], stage: 0)
      #expect(results[ref(UInt32(sample))] == expected, "sample \(sample)")
    }
  }

  @Test func neverStepsMoreThanItsSlots() async throws {
    var reports = try await Reports(slots: 2) { try SyntheticEngine(stage: "base32", stepMilliseconds: 0) }
    for sample in 0..<5 { reports.loop.post(.start(assignment(ref(UInt32(sample))))) }
    var done = 0
    while done < 5 {
      switch try await reports.next() {
      case .stepped(let progress, _): #expect(progress.count <= 2)
      case .finished: done += 1
      default: break
      }
    }
  }

  @Test func resumesFromACheckpointWithEqualBytes() async throws {
    let whole = assignment(ref(1), label: 1, seed: 5, steps: 40)
    var first = try await Reports(slots: 1) { try SyntheticEngine(stage: "base32", stepMilliseconds: 1) }
    first.loop.post(.start(whole))
    _ = try await first.next()
    first.loop.post(.checkpoint(ref(1)))
    let seen = try await first.until { if case .checkpoint = $0 { true } else { false } }
    guard case .checkpoint(ref(1), let checkpoint) = try #require(seen.last) else { return }
    #expect(checkpoint.step > 0 && checkpoint.step < 40)
    #expect(checkpoint.tensors.allSatisfy { $0.name.hasPrefix("checkpoint.") })

    var second = try await Reports(slots: 1) { try SyntheticEngine(stage: "base32", stepMilliseconds: 0) }
    var rest = whole
    rest.task.attempt = 2
    rest.checkpoint = checkpoint
    second.loop.post(.start(rest))
    let steps = try await second.until { if case .finished = $0 { true } else { false } }
    #expect(steps.count == Int(40 - checkpoint.step) + 1)
    guard case .finished(let result, steps: 40) = try #require(steps.last) else { return }
    #expect(result.tensor == (try SyntheticEngine.reference(label: 1, seed: 5, options: whole.options, stage: 0)))
  }

  @Test func finishesFromACheckpointAfterTheLastStep() async throws {
    let engine = try SyntheticEngine(stage: "base32", stepMilliseconds: 0)
    var work = assignment(ref(1), steps: 2)
    let run = try engine.begin(work)
    try engine.advance([run])
    try engine.advance([run])
    work.checkpoint = try run.checkpoint()
    var reports = try await Reports(slots: 1) { try SyntheticEngine(stage: "base32", stepMilliseconds: 0) }
    reports.loop.post(.start(work))
    #expect(try await reports.results(1)[ref(1)] == (try run.result()))
  }

  @Test func aWrongTaskFailsForGoodAndTheOthersGoOn() async throws {
    var reports = try await Reports(slots: 4) { try SyntheticEngine(stage: "sr64", stepMilliseconds: 0) }
    let good = try SyntheticEngine.reference(label: 0, seed: 0, stage: 0)
    let low = try WireTensor(name: "low_res", dtype: .f32, shape: good.shape, data: good.data)
    func work(_ sample: UInt32, _ change: (inout Assignment) -> Void) -> Assignment {
      var work = assignment(ref(sample, stage: 1))
      work.lowRes = low
      change(&work)
      return work
    }
    let wrong: [(Assignment, String)] = [
      (work(1) { $0.label = 12 }, "label 12"),
      (work(2) { $0.lowRes = nil }, "low_res"),
      (work(3) { $0.options = [StageOptions(stage: "sr64", steps: 0)] }, "1 to 1000 steps"),
      (work(4) { $0.options = [StageOptions(stage: "sr64", steps: 1001)] }, "1 to 1000 steps"),
      (work(5) { $0.task.task.stage = 2 }, "stage 2"),
      (work(6) { $0.checkpoint = TaskCheckpoint(step: 2, tensors: []) }, "checkpoint"),
      (work(7) { $0.checkpoint = TaskCheckpoint(step: 4, tensors: []) }, "after step 4 of 3"),
    ]
    for (work, _) in wrong { reports.loop.post(.start(work)) }
    reports.loop.post(.start(work(0) { _ in }))
    var failures: [TaskRef: String] = [:]
    var finished = 0
    while failures.count + finished < wrong.count + 1 {
      switch try await reports.next() {
      case .failed(let task, let reason, let permanent):
        failures[task] = reason
        #expect(permanent)
      case .finished(let result, _):
        finished += 1
        #expect(result.task == ref(0, stage: 1))
      default: break
      }
    }
    for (work, reason) in wrong {
      #expect(failures[work.task]?.contains(reason) == true, "\(work.task): \(failures[work.task] ?? "no failure")")
    }
  }

  @Test func aStepThatThrowsEndsOnlyTheGuilty() async throws {
    let gate = DispatchSemaphore(value: 0)
    var reports = try await Reports(slots: 4) { try PoisonedEngine(gate) }
    for sample in 0..<4 { reports.loop.post(.start(assignment(ref(UInt32(sample)), seed: UInt64(sample), steps: 6))) }
    // All are there before the first has begun.
    gate.signal()
    var finished: Set<TaskRef> = []
    var failed: [TaskRef: Bool] = [:]
    while finished.count + failed.count < 4 {
      switch try await reports.next() {
      case .finished(let result, _):
        finished.insert(result.task)
        // The others took the step that it could not, instead of waiting for it.
        #expect(failed.count == 1)
        let seed = UInt64(result.task.task.sample)
        #expect(
          result.tensor
            == (try SyntheticEngine.reference(label: 0, seed: seed, options: [StageOptions(stage: "base32", steps: 6)], stage: 0)))
      case .failed(let task, let reason, let permanent):
        failed[task] = permanent
        #expect(reason == "poisoned")
      default: break
      }
    }
    #expect(failed == [ref(PoisonedEngine.poisonedSample): false])
  }

  @Test func dropsAndDrains() async throws {
    var reports = try await Reports(slots: 2) { try SyntheticEngine(stage: "base32", stepMilliseconds: 1) }
    for sample in 0..<3 { reports.loop.post(.start(assignment(ref(UInt32(sample)), steps: 1000))) }
    _ = try await reports.next()
    reports.loop.post(.drop(ref(0)))
    _ = try await reports.until { $0 == .dropped(ref(0)) }
    // The third one has its slot now.
    guard case .stepped(let progress, _) = try await reports.next() else {
      Issue.record("no step")
      return
    }
    #expect(Set(progress.map(\.task)) == [ref(1), ref(2)])
    reports.loop.post(.drain)
    reports.loop.post(.start(assignment(ref(4), steps: 1)))
    let last = try await reports.until { $0 == .drained }
    let handedBack = last.compactMap { if case .checkpoint(let task, _) = $0 { task } else { nil } }
    #expect(Set(handedBack) == [ref(1), ref(2)])
  }

  @Test func tellsWhyThereIsNoEngine() async {
    await #expect {
      _ = try await Reports(slots: 1) { try SyntheticEngine(stage: "sr512", stepMilliseconds: 0) }
    } throws: { error in
      "\(error)".contains("no stage \"sr512\"") && "\(error)".contains("base32, sr64, sr256")
    }
  }
}

/// Fails any step that includes one certain sample.
private final class PoisonedEngine: Engine {
  static let poisonedSample: UInt32 = 2
  private let inner: SyntheticEngine
  private let gate: DispatchSemaphore
  private var isOpen = false
  private var poisoned: (any TaskRun)?

  init(_ gate: DispatchSemaphore) throws {
    inner = try SyntheticEngine(stage: "base32", stepMilliseconds: 0)
    self.gate = gate
  }

  var info: EngineInfo { inner.info }

  func begin(_ assignment: Assignment) throws -> any TaskRun {
    if !isOpen { gate.wait() }
    isOpen = true
    let run = try inner.begin(assignment)
    if assignment.task.task.sample == Self.poisonedSample { poisoned = run }
    return run
  }

  func advance(_ runs: [any TaskRun]) throws {
    if runs.contains(where: { $0 === poisoned && $0.step == 3 }) { throw EngineError(.failed, "poisoned") }
    try inner.advance(runs)
  }
}
