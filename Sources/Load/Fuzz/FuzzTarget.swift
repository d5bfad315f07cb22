import Client
import Wire
import Worker

/// A broker that is flooded, and what is asked of it meanwhile.
struct FuzzTarget: Sendable {
  let endpoint: String
  /// The broker's process; `nil` while it does not run.
  let pid: @Sendable () async -> Int32?
  private let client: WeirClient

  init(endpoint: String, client: WeirClient, pid: @escaping @Sendable () async -> Int32?) {
    self.endpoint = endpoint
    self.client = client
    self.pid = pid
  }

  /// In MiB.
  func residentMemory() async throws -> Double {
    guard let pid = await pid(), let bytes = ResidentMemory.now(of: "\(pid)") else { throw Broken("the broker ended") }
    return Double(bytes) / 0x1p20
  }

  /// Whether workers with the synthetic engine serve it, so that honest jobs can be had and compared with the oracle.
  func isSynthetic() async throws -> Bool {
    let served = try await client.workers().filter { $0.pipeline == SyntheticEngine.pipeline.name && $0.quarantine == nil }
    return Set(served.map(\.stage)).isSuperset(of: SyntheticEngine.pipeline.stages.map(\.name))
  }

  /// A job that nobody damaged, and each of its images compared with the oracle's.
  ///
  /// - Returns: how many images that were.
  func honestJob(_ number: Int, key: String) async throws -> Int {
    let options = zip(SyntheticEngine.pipeline.stages, [3, 2, 2] as [UInt32]).map { StageOptions(stage: $0.name, steps: $1) }
    let label = UInt32(number % SyntheticEngine.pipeline.labels.count)
    let run = SampleRun(label: SyntheticEngine.pipeline.labels[Int(label)], seed: UInt64(number) * 1_000, count: 3)
    let job = try await client.submit(
      Submission(
        pipeline: SyntheticEngine.pipeline.name, runs: [run], options: options, key: "\(key)-\(number)", tenant: "honest", priority: .high)
    ).job
    var last: JobStatus?
    for try await status in client.watch(job) { last = status }
    try expect(last?.state == .done, "an honest job ended as \(last.map { "\($0.state)" } ?? "nothing")")
    for sample in 0..<run.count {
      let image = try await client.fetch(job, sample: sample)
      let expected = try SyntheticEngine.reference(label: label, seed: run.seed + UInt64(sample), options: options)
      try expect(image.tensor == expected, "image \(sample) of an honest job is not what the oracle says")
    }
    return Int(run.count)
  }
}
