import Client
import Foundation
import Load
import Logging
import Testing
import Wire
import Worker
import ZeroMQ

/// Workers and clients at a broker that makes no sense: they complain and go on, and take little memory for what it announces.
@Suite(.timeLimit(.minutes(1)), .serialized) struct HostileBrokerTests {
  private let corpus: Corpus
  /// A damaged message announces gigabytes as easily as bytes. What is in the corpus takes kilobytes, and other tests run meanwhile.
  private static let maxGrowth = 256 << 20

  init() throws {
    corpus = try Corpus(folder: URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Corpus").path)
  }

  private func withBroker(seed: UInt64, _ body: (HostileBroker, String) async throws -> Void) async throws {
    let loop = try SocketLoop(name: "hostile")
    defer { loop.stop() }
    let broker = try HostileBroker(corpus, seed: seed, on: loop)
    let endpoint = try await broker.open()
    let (_, growth) = try await ResidentMemory.growth { try await body(broker, endpoint) }
    #expect(growth < Self.maxGrowth, "\(growth >> 20) MiB, seed \(seed)")
    await broker.close()
  }

  /// In time it is sent home, by a damaged message or a whole one; until then it survives them all.
  @Test(arguments: 1...2 as ClosedRange<UInt64>) func aWorkerSurvives(seed: UInt64) async throws {
    try await withBroker(seed: seed) { broker, address in
      let endpoint = try #require(BrokerEndpoint(address))
      for _ in 0..<3 {
        let worker = try await WorkerService.make(
          settings: .init(broker: endpoint, name: "w", host: "here", pid: 1, slots: 2, connectTimeout: .seconds(20)),
          logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
          makeEngine: { try SyntheticEngine(stage: "base32", stepMilliseconds: 0) }, onReady: { _ in })
        // It ends when a drain gets through, which is one of seven kinds of command.
        try await worker.run()
      }
    }
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>) func aClientSurvives(seed: UInt64) async throws {
    try await withBroker(seed: seed) { broker, address in
      let client = try WeirClient(
        broker: address, options: .init(resendAfter: .milliseconds(50), patience: .milliseconds(200), waitPatience: .milliseconds(200)))
      for number in 0..<200 as Range<UInt64> {
        let job = JobID(rawValue: number + 1)
        do {
          switch number % 7 {
          case 0: _ = try await client.submit(Submission(runs: [SampleRun(label: "clay", seed: number)]))
          case 1: _ = try await client.status(of: job)
          case 2: for try await _ in client.watch(job) {}
          case 3: _ = try await client.fetch(job, sample: 0)
          case 4: _ = try await client.history(of: job)
          case 5: _ = try await client.workers()
          default: _ = try await client.cancel(job)
          }
        } catch is ClientError {
          continue
        }
      }
      await client.close()
    }
  }
}
