import Client
import Foundation
import Testing
import Wire

@testable import weir

@Suite(.timeLimit(.minutes(1))) struct FollowTests {
  /// A status lists the first thousand samples of a job; those behind them are saved as they finish, too.
  @Test func imagesBehindTheListAreSavedBeforeTheEnd() async throws {
    let job = JobID(rawValue: 7)
    let folder = FileManager.default.temporaryDirectory.path + "/weir-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    let images = try ImageFolder(folder)
    let following = Task {
      var follower = JobFollower(client: client, job: job, folder: images, reporter: JobReporter(json: true))
      return try await follower.run()
    }
    let watch = await broker.next()
    #expect(watch.request == .watch(job))
    var running = status(job, done: 2, samples: 1_003)
    running.details = (0..<1_000).map {
      SampleStatus(index: $0, label: 3, seed: 7 + UInt64($0), stage: "base32", state: .queued, attempts: 0)
    }
    try await broker.answer(watch, .event(running))
    // Nobody but the broker knows which two of the three are finished.
    var asked: [UInt32] = []
    for _ in 0..<3 {
      let received = await broker.next()
      guard case .fetch(job, let sample, "") = received.request else {
        Issue.record("\(received.request)")
        break
      }
      asked.append(sample)
      try await broker.answer(
        received, sample == 1_001 ? .refused(Refusal(.notReady, "not finished", retryAfterMilliseconds: 1)) : .image(image(job, sample)))
    }
    #expect(asked.sorted() == [1_000, 1_001, 1_002])
    var done = status(job, .done, done: 1_003, samples: 1_003)
    done.details = running.details
    try await broker.answer(watch, .event(done))
    let last = await broker.next()
    #expect(last.request == .fetch(job, sample: 1_001, stage: ""))
    try await broker.answer(last, .image(try image(job, 1_001)))
    #expect(try await following.value.state == .done)
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.contains("-100") }.sorted()
    #expect(names == (1_000...1_002).map { "\(job)-\($0).png" })
    await broker.stop()
  }
}
