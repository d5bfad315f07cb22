import Foundation
import Tensors
import Testing

@testable import Cascade

/// How a worker finds its number of slots.
@Suite struct ProfileTests {
  static let memory = StageProfile.Memory(computing: 100, held: 10, lanes: 2)

  /// - Parameter perSample: milliseconds a sample, by batch size.
  static func profile(_ perSample: [(Int, Double)], memory: StageProfile.Memory = memory, waited: Double? = nil) -> StageProfile {
    StageProfile(timings: perSample.map { .init(batch: $0.0, stepMilliseconds: $0.1 * Double($0.0)) }, memory: memory, waited: waited)
  }

  // MARK: the choice

  @Test(arguments: [
    ([(1, 36.0), (2, 18.1), (4, 18.0)], 2), ([(1, 10.0), (2, 10.0), (4, 10.0)], 1), ([(4, 5.0), (1, 20.0), (8, 4.9), (2, 9.0)], 4),
    ([(1, 10.0), (2, 9.6), (4, 9.55)], 1), ([(1, 10.0), (2, 9.5), (4, 9.0)], 4), ([(1, 3.0)], 1), ([(1, 9.0), (256, 1.0)], 256),
  ])
  func theSmallestBatchNearlyAsFastAsTheFastest(perSample: [(Int, Double)], slots: Int) {
    #expect(SlotChoice(Self.profile(perSample), freeBytes: nil).slots == slots)
    #expect(SlotChoice(Self.profile(perSample), freeBytes: 1 << 40).slots == slots)
  }

  @Test func notMoreThanHalfTheFreeMemoryHasRoomFor() {
    let profile = Self.profile([(1, 8), (2, 4), (4, 2), (8, 1)])
    // 100 each of the two that are computed, 10 for each that is there.
    for (bytes, slots) in [(560, 8), (559, 4), (480, 4), (479, 2), (440, 2), (439, 1), (220, 1), (0, 1)] {
      #expect(SlotChoice(profile, freeBytes: bytes).slots == slots, "\(bytes) bytes")
    }
  }

  @Test func theReasonNamesTheFigures() {
    let reason = SlotChoice(Self.profile([(1, 36), (2, 18.25)]), freeBytes: 2_000_000_000).reason
    #expect(reason.contains("1: 36.0, 2: 18.2") && reason.contains("5 %") && reason.contains("2000 MB"))
    #expect(SlotChoice(Self.profile([(1, 36)]), freeBytes: 1).reason.contains("room for 0"))
  }

  @Test func memoryIsOfWhatIsComputedAndWhatWaits() {
    for bytes in stride(from: 0, through: 2000, by: 5) {
      let largest = Self.memory.largestBatch(in: bytes)
      func need(_ batch: Int) -> Int { min(batch, 2) * 100 + batch * 10 }
      #expect(need(largest) <= bytes && need(largest + 1) > bytes, "\(bytes) bytes: \(largest)")
    }
  }

  // MARK: the plan

  /// The sizes that are timed where a step of a batch takes `step` milliseconds.
  private func sizes(lanes: Int, most: Int = .max, limit: Double = 2000, step: (Int) -> Double) -> [Int] {
    let plan = ProfilePlan(lanes: lanes, most: most, limit: .milliseconds(limit))
    var timings: [StageProfile.Timing] = []
    var elapsed = 0.0
    while let size = plan.next(after: timings, elapsed: .milliseconds(elapsed)) {
      elapsed += step(size)
      timings.append(.init(batch: size, stepMilliseconds: step(size)))
    }
    return timings.map(\.batch)
  }

  @Test func timesNoMoreThanHelps() {
    // Samples one after the other: two are no better than one.
    #expect(sizes(lanes: 1) { Double($0) } == [1, 2])
    // Two at a time.
    #expect(sizes(lanes: 2) { Double(($0 + 1) / 2) } == [1, 2, 4])
    // Twelve threads on four processors: what lies between is looked at.
    #expect(sizes(lanes: 12) { Double(($0 + 3) / 4) } == [1, 12, 2, 4, 8, 16])
    // A device that takes any number at once.
    #expect(sizes(lanes: 1) { 1 + Double($0) / 1000 } == [1, 2, 4, 8, 16, 32, 64, 128, 256])
    #expect(sizes(lanes: 1, most: 100) { _ in 1 } == [1, 2, 4, 8, 16, 32, 64])
    #expect(sizes(lanes: 4, most: 3) { _ in 1 } == [1, 2])
    #expect(sizes(lanes: 4, most: 0) { _ in 1 } == [1])
  }

  @Test func endsWithItsTime() {
    #expect(sizes(lanes: 1) { 150 + Double($0) } == [1, 2, 4, 8, 16, 32, 64, 128])
    // However slow: one sample, and as many as can be computed at a time.
    #expect(sizes(lanes: 16) { _ in 10_000 } == [1, 16])
  }

  @Test func measuresAStage() throws {
    let pipeline = try Pipeline.load(TinyPipeline.shared.get().directory)
    for stage in 0..<3 {
      let engine = try StageEngine(pipeline, stage: stage, dtype: .f32, threads: 2)
      let profile = try StageProfile.measure(engine, limit: .milliseconds(20))
      #expect(profile.timings.prefix(2).map(\.batch) == [1, 2] && profile.isPlausible)
      let side = pipeline.manifest.stages[stage].resolution
      // Its input, its output and the first convolution's 32 channels at least.
      #expect(profile.memory.computing > 38 * side * side * 4 && profile.memory.computing < 1000 * side * side * 4)
      #expect(profile.memory.held >= 3 * side * side * 4 && profile.memory.lanes == 2)
    }
    let engine = try StageEngine(pipeline, stage: 0, dtype: .f32, threads: 2)
    #expect(try StageProfile.measure(engine, limit: .zero, freeBytes: 0).timings.map(\.batch) == [1])
  }

  // MARK: the store

  private func withStore(_ body: (ProfileStore, ProfileStore.Key, StageEngine) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "weir-profiles-\(UUID().uuidString)/a/b").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let engine = try StageEngine(Pipeline.load(TinyPipeline.shared.get().directory), stage: 1, dtype: .f32, threads: 2)
    try body(ProfileStore(folder: folder), ProfileStore.Key(engine), engine)
  }

  @Test func keepsWhatItIsGiven() throws {
    try withStore { store, key, engine in
      #expect(store.load(key) == .nothing)
      let profiles = [Self.profile([(1, 1.5), (2, 0.75)], waited: 0.125), Self.profile([(1, 1.25)])]
      for profile in profiles {
        try store.save(profile, for: key)
        #expect(store.load(key) == .profile(profile))
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: store.folder).count == 1)
      // Of another number of threads nothing is known.
      let other = ProfileStore.Key(try StageEngine(engine.pipeline, stage: 1, dtype: .f32, threads: 3))
      #expect(other != key && store.load(other) == .nothing)
    }
  }

  @Test func doesNotBelieveAFileThatIsNone() throws {
    try withStore { store, key, engine in
      let path = store.path(key)
      func expectUnusable(_ why: String) {
        guard case .unusable(let reason) = store.load(key) else {
          Issue.record("\(why): \(store.load(key))")
          return
        }
        #expect(reason.contains(path))
      }
      try store.save(Self.profile([(1, 1), (2, 1)], waited: 0.5), for: key)
      let good = try Data(contentsOf: URL(fileURLWithPath: path))
      for length in stride(from: 0, to: good.count - 1, by: 7) {
        try good.prefix(length).write(to: URL(fileURLWithPath: path))
        expectUnusable("cut to \(length)")
      }
      let text = String(decoding: good, as: UTF8.self)
      for (from, to) in [
        ("\"batch\" : 2", "\"batch\" : 1"), ("\"batch\" : 2", "\"batch\" : 257"), ("\"batch\" : 2", "\"batch\" : 0"),
        ("\"step_ms\" : 2", "\"step_ms\" : -2"), ("\"step_ms\" : 2", "\"step_ms\" : 1e999"), ("\"held\" : 10", "\"held\" : 0"),
        ("\"lanes\" : 2", "\"lanes\" : 9223372036854775807"), ("\"format\" : 2", "\"format\" : 1"),
        ("\"waited\" : 0.5", "\"waited\" : 1.5"), ("\"waited\" : 0.5", "\"waited\" : -0.5"),
        ("\"stage\" : \"sr16\"", "\"stage\" : \"x\""),
      ] {
        #expect(text.contains(from))
        try Data(text.replacing(from, with: to).utf8).write(to: URL(fileURLWithPath: path))
        expectUnusable("\(to) for \(from)")
      }
      try Data(repeating: 32, count: 1 << 17).write(to: URL(fileURLWithPath: path))
      expectUnusable("too large")
    }
  }

  @Test func measuresOnceAndOnlyAnewWhatIsDamaged() throws {
    try withStore { store, key, engine in
      var notes: [String] = []
      func choose() throws -> SlotChoice {
        try SlotChoice.make(for: engine, store: store, limit: .milliseconds(50)) { if !isOfOthers($0) { notes.append($0) } }
      }
      let first = try choose()
      guard case .profile(let measured) = store.load(key) else {
        Issue.record("nothing was kept: \(notes)")
        return
      }
      #expect(measured.timings.contains { $0.batch == first.slots })
      // What is there is believed: no stage of this size is so fast with 64.
      try store.save(Self.profile([(1, 64), (64, 1)]), for: key)
      #expect(try choose().slots == 64 && notes.isEmpty)
      try Data("{".utf8).write(to: URL(fileURLWithPath: store.path(key)))
      #expect((1...256).contains(try choose().slots))
      #expect(notes.count == 1 && notes[0].contains("damaged") && notes[0].contains("measuring anew"))
      guard case .profile = store.load(key) else {
        Issue.record("the damaged file was not replaced")
        return
      }
    }
  }

  @Test func worksWithoutAPlaceToKeepThem() throws {
    try withStore { store, _, engine in
      // A file stands where the folder should be.
      let blocked = ProfileStore(folder: engine.pipeline.directory + "/cascade.json/profiles")
      var notes: [String] = []
      let choice = try SlotChoice.make(for: engine, store: blocked, limit: .zero) { if !isOfOthers($0) { notes.append($0) } }
      #expect(choice.slots >= 1)
      #expect(notes.count == 1 && notes[0].contains("cannot keep the profile"))
    }
  }

  @Test func measuresAnewWhatOthersDisturbed() throws {
    try withStore { store, key, _ in
      var notes: [String] = []
      var measured: [StageProfile] = []
      func find() throws -> StageProfile {
        try store.profile(for: key, note: { notes.append($0) }) { measured.removeFirst() }
      }
      let (bad, worse) = (Self.profile([(1, 3)], waited: 0.25), Self.profile([(1, 4)], waited: 0.5))
      let good = Self.profile([(1, 1)], waited: 0.05)
      // Of two that were disturbed, the less disturbed is kept, and said to be.
      measured = [worse, bad]
      #expect(try find() == bad && store.load(key) == .profile(bad) && measured.isEmpty)
      #expect(notes.count == 1 && notes[0].contains("25 %") && notes[0].contains("next start"))
      measured = [bad, worse]
      #expect(try find() == bad && measured.isEmpty)
      #expect(notes.count == 3 && notes[1].contains("measuring anew"))
      // The second attempt does.
      measured = [worse, good]
      #expect(try find() == good && store.load(key) == .profile(good) && measured.isEmpty)
      #expect(notes.count == 4)
      // And that is believed from now on.
      #expect(try find() == good && notes.count == 4)
      // One attempt is enough where nobody disturbs it, and where nobody can tell.
      try store.save(worse, for: key)
      measured = [Self.profile([(1, 2)])]
      #expect(try find() == Self.profile([(1, 2)]) && measured.isEmpty && notes.count == 5)
      #expect(try find() == Self.profile([(1, 2)]))
    }
  }

  @Test func tellsHowLongThreadsWaited() throws {
    typealias Share = ProcessorTime.Share
    #expect(ProcessorTime.share("898776 23072844 2\n") == Share(computed: 898_776, waited: 23_072_844))
    for text in ["", "1", "a 2 3", "-1 2 3"] { #expect(ProcessorTime.share(text) == nil, "\(text)") }
    let before = ProcessorTime(threads: ["1": Share(computed: 100, waited: 50), "2": Share(computed: 10, waited: 10)])
    // The second thread has ended, a third has come.
    let after = ProcessorTime(threads: ["1": Share(computed: 160, waited: 60), "3": Share(computed: 20, waited: 10)])
    #expect(after.waitedPart(since: before) == 0.2)
    #expect(before.waitedPart(since: before) == 0)
    // A number that was given to another thread counts as nothing, not as less.
    #expect(ProcessorTime(threads: ["1": Share(computed: 1, waited: 1)]).waitedPart(since: before) == 0)
  }

  @Test func whoMeasuresIsAlone() async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "weir-turns-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let store = ProfileStore(folder: folder)
    let seen = Inside()
    await withTaskGroup { group in
      for _ in 0..<8 {
        group.addTask { await onAThread { store.takingTurns(patience: .seconds(60)) { seen.visit() } } }
      }
    }
    #expect(seen.visits == 8 && seen.most == 1)
    // Whoever waits for one that does not come to an end goes on by itself.
    store.takingTurns(patience: .zero) {
      store.takingTurns(patience: .zero) { seen.visit() }
    }
    #expect(seen.visits == 9)
  }

  /// How many were in a place at a time.
  private final class Inside: @unchecked Sendable {
    private let lock = NSLock()
    private var now = 0
    private(set) var most = 0
    private(set) var visits = 0

    func visit() {
      lock.withLock {
        now += 1
        visits += 1
        most = max(most, now)
      }
      for _ in 0..<20 { sched_yield() }
      lock.withLock { now -= 1 }
    }
  }

  // MARK: free memory

  @Test func readsWhatTheKernelSays() {
    let meminfo = "MemTotal:       24683996 kB\nMemFree:         1000 kB\nMemAvailable:   23990000 kB\n"
    #expect(FreeMemory.available(meminfo) == 23_990_000 * 1024)
    #expect(FreeMemory.available("MemTotal: 1 kB\n") == nil)
    #expect(FreeMemory.groups("12:memory:/x\n0::/a.slice/b.service\n") == ["/a.slice/b.service", "/a.slice", ""])
    #expect(FreeMemory.groups("0::/\n") == [""])
    #expect(FreeMemory.groups("1:name=systemd:/x\n").isEmpty)
    #expect(FreeMemory.left(limit: "1000\n", current: "700\n", stat: "anon 5\ninactive_file 200\n") == 500)
    #expect(FreeMemory.left(limit: "1000\n", current: "1700\n", stat: "") == 0)
    #expect(FreeMemory.left(limit: "max\n", current: "700\n", stat: "") == nil)
    #expect(FreeMemory.bytes().map { $0 > 1 << 20 } ?? true)
  }
}

/// A note that depends on what else this machine does.
private func isOfOthers(_ note: String) -> Bool { note.contains("while others had the processors") }

private func onAThread(_ body: @escaping @Sendable () -> Void) async {
  await withCheckedContinuation { continuation in
    Thread.detachNewThread {
      body()
      continuation.resume()
    }
  }
}
