import Client
import SeededRandom
import Wire

/// A sample's bytes are its own: whatever it is computed beside, by whichever worker, with however many slots and threads.
func batchInvariance(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let oracle = ImageOracle(settings.engine)
  var figures: [String: Double] = [:]
  // The first fleet has a slot a worker, so nothing there has a neighbour: what it makes of networks' samples is what the others have to.
  for (perStage, slots, threads) in [(2, 1, 1), (1, 3, 2), (1, 8, 3)] {
    let shape = ChaosFleet.Shape(perStage: perStage, slots: slots, threads: threads)
    let counted = try await ChaosFleet.with(settings, shape, oracle) { fleet in
      var probe = Probe(fleet, seed: settings.seed)
      try await fleet.rehearse(probe.submission("rehearsed"))
      if perStage > 1 {
        try await probe.runsOnTwoWorkers()
      } else {
        try await probe.runsAmongMates()
        try await probe.runsAmongComings()
      }
      return probe.figures
    }
    figures.merge(counted) { $0 + $1 }
  }
  return figures
}

/// A sample that is made again and again, in different company.
private struct Probe {
  private let fleet: ChaosFleet
  private let run: SampleRun
  private let steps: [UInt32]
  private var random: SplitMix64
  private(set) var figures: [String: Double] = [:]

  init(_ fleet: ChaosFleet, seed: UInt64) {
    self.fleet = fleet
    // The same in every fleet, with other mates.
    var random = SplitMix64(seed: seed)
    run = SampleRun(label: "\(random.next() % fleet.labels)", seed: random.next())
    steps = fleet.steps([60, 50, 40], cascade: [8, 6, 3])
    self.random = SplitMix64(seed: seed &+ UInt64(fleet.shape.slots))
  }

  func submission(_ key: String) -> Submission { Submission(runs: [run], options: fleet.options(steps), key: key) }

  /// Twins, one for each worker of a slot.
  mutating func runsOnTwoWorkers() async throws {
    var twins = submission("twins")
    twins.runs += [run]
    let job = try await fleet.client.submit(twins).job
    try await fleet.verify(job, of: twins)
    let workers = Set(try await fleet.client.history(of: job).filter { $0.stage == 0 && $0.state == .done }.map(\.worker))
    try expect(workers.count == 2, "two samples at a time were both computed by \(workers.sorted().joined(separator: ", "))")
    count("images", 2)
  }

  /// With one mate, and with as many as there are slots for, of the same job and so with the same steps.
  mutating func runsAmongMates() async throws {
    for mates in Set([1, fleet.shape.slots - 1]).sorted() {
      var among = submission("among-\(mates)")
      let place = Int.random(in: 0...mates, using: &random)
      among.runs = (0...mates).map { $0 == place ? run : randomRun() }
      let job = try await fleet.client.submit(among).job
      try await expectProbe(in: job, sample: UInt32(place))
      count("mates", Double(mates))
    }
  }

  /// Others with few steps come and go, so that the batch is another one from step to step. Some are stopped on their way.
  mutating func runsAmongComings() async throws {
    let fleet = fleet
    let concurrency = min(fleet.shape.slots - 1, 3)
    let job = try await fleet.client.submit(submission("through")).job
    let streams = (0..<concurrency).map { _ in SplitMix64(seed: random.next()) }
    let probe = Task { try await fleet.finished(job) }
    let comings = try await withThrowingTaskGroup(of: Int.self) { group in
      for (number, stream) in streams.enumerated() {
        group.addTask { try await comeAndGo(fleet, number, stream, during: job) }
      }
      return try await group.reduce(0, +)
    }
    try expect(try await probe.value.state == .done, "job \(job) was not done")
    try await expectProbe(in: job, sample: 0)
    try expect(comings > concurrency, "only \(comings) others came, so the batch did not change")
    count("comings", Double(comings))
  }

  private mutating func expectProbe(in job: JobID, sample: UInt32) async throws {
    let status = try await fleet.finished(job)
    try expect(status.state == .done, "job \(job) is \(status.state)")
    let image = try await fleet.client.fetch(job, sample: sample)
    let expected = try await fleet.oracle.image(ImageOracle.samples(of: submission(""))[0])
    try expect(image.tensor == expected, "in company of \(fleet.shape.slots) slots, in job \(job), the sample has other bytes than alone")
    count("images", 1)
  }

  private mutating func randomRun() -> SampleRun { SampleRun(label: "\(random.next() % fleet.labels)", seed: random.next()) }

  private mutating func count(_ what: String, _ number: Double) { figures[what, default: 0] += number }
}

/// Jobs of few steps, one after the other, as long as a job goes on.
///
/// - Returns: how many.
private func comeAndGo(_ fleet: ChaosFleet, _ number: Int, _ stream: SplitMix64, during job: JobID) async throws -> Int {
  var random = stream
  var count = 0
  while try await !fleet.client.status(of: job).state.isFinal {
    count += 1
    let steps = (0..<fleet.stages.count).map { _ in UInt32.random(in: 1...3, using: &random) }
    let coming = Submission(
      runs: [SampleRun(label: "\(random.next() % fleet.labels)", seed: random.next())], options: fleet.options(steps),
      key: "coming-\(number)-\(count)")
    let other = try await fleet.client.submit(coming).job
    if random.unit() < 0.3 {
      _ = try await fleet.client.cancel(other)
    } else {
      _ = try await fleet.finished(other)
    }
  }
  return count
}
