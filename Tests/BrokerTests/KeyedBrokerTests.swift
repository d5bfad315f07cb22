import Client
import Foundation
import Logging
import Testing
import Wire
import Worker
import ZeroMQ

@testable import Broker

/// A broker with keys over real sockets, and real clients and workers.
@Suite(.timeLimit(.minutes(2))) struct KeyedBrokerTests {
  let folder = TemporaryFolder()
  let keys: TestKeys
  let book = LogBook()

  init() throws { keys = try TestKeys() }

  private var listPath: String { folder.path + "/allow" }

  /// Renamed into its place, as people are told to.
  private func writeList(_ text: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: listPath), options: .atomic) }

  private func everyone(without gone: CurveKeyPair? = nil, and more: String...) -> String {
    keys.text(without: gone, more).replacing("stages=stage0,stage1", with: "stages=base32")
  }

  private func withBroker(_ body: (BrokerService, BrokerService.Endpoints) async throws -> Void) async throws {
    try writeList(everyone())
    let loop = try SocketLoop(name: "broker-test")
    let configuration = BrokerConfiguration(
      clients: try BindAddress("tcp://127.0.0.1:*"), dataDirectory: folder.path + "/data",
      keys: .init(pair: keys.broker, accessList: listPath))
    let broker = BrokerService(configuration, on: loop, logger: book.logger)
    defer { loop.stop() }
    try await body(broker, try await broker.start())
    await broker.stop()
  }

  private func client(
    _ endpoints: BrokerService.Endpoints, _ pair: CurveKeyPair?, server: CurveKeyPair? = nil, patience: Duration = .seconds(60)
  ) throws -> WeirClient {
    let identity = pair.map { CurveIdentity($0, server: (server ?? keys.broker).publicKey) }
    return try WeirClient(
      broker: endpoints.clients, keys: identity.map(ClientKeys.init),
      options: .init(resendAfter: .milliseconds(500), patience: patience, waitPatience: .seconds(60)))
  }

  private func failure(_ client: WeirClient) async -> ClientError? {
    do throws(ClientError) {
      _ = try await client.workers()
      return nil
    } catch {
      return error
    }
  }

  private func worker(_ endpoints: BrokerService.Endpoints, _ pair: CurveKeyPair, _ log: LogBook) async throws -> WorkerService {
    try await WorkerService.make(
      settings: .init(
        broker: try #require(BrokerEndpoint(endpoints.clients)), name: "w", host: "here", pid: 1, slots: 2,
        identity: CurveIdentity(pair, server: keys.broker.publicKey)),
      logger: log.logger, makeEngine: { try SyntheticEngine(stage: "base32", stepMilliseconds: 1) },
      onReady: { _ in log.logger.info("ready") })
  }

  /// Runs a worker until the body is done.
  private func withWorker(
    _ endpoints: BrokerService.Endpoints, _ pair: CurveKeyPair, _ body: (LogBook) async throws -> Void
  ) async throws {
    let log = LogBook()
    let worker = try await worker(endpoints, pair, log)
    let running = Task { try await worker.run() }
    defer { running.cancel() }
    try await body(log)
    running.cancel()
    _ = try? await running.value
  }

  @Test func whoIsOnTheListWorksAndWhoIsNotIsTold() async throws {
    try await withBroker { _, endpoints in
      #expect(await failure(try client(endpoints, keys.alice)) == nil)

      let stranger = try #require(await failure(try client(endpoints, keys.stranger)))
      #expect(stranger.code == .denied && stranger.message.contains("'client \(keys.stranger.publicKey) tenant=NAME'"), "\(stranger)")
      try await book.line("warning", "refused 127.0.0.1, key \(keys.stranger.publicKey)", "not on the list")

      let keyless = try #require(await failure(try client(endpoints, nil)))
      #expect(keyless.code == .denied && keyless.message.contains("asks for keys"), "\(keyless)")
      try await book.line { $0.contains("refused ") && ($0.contains("without a key") || $0.contains("before it had shown a key")) }

      let misled = try #require(await failure(try client(endpoints, keys.alice, server: keys.bob, patience: .milliseconds(400))))
      #expect(misled.code == .unreachable && misled.message.contains(keys.bob.publicKey.text), "\(misled)")
      try await book.line("warning", "refused ", "another key")
      // Whoever was gone too fast to be asked for its address came from this machine, which is all that a loopback address lets in.
      let refusals = book.lines.filter { $0.contains("refused ") }
      #expect(refusals.allSatisfy { $0.contains("127.0.0.1") || $0.contains("this machine") })

      let other = try #require(await failure(try client(endpoints, keys.worker)))
      #expect(other.code == .refused && other.message.contains("worker's"), "\(other)")
      try await book.line("warning", "refused 127.0.0.1, key \(keys.worker.publicKey)", "only clients may")
    }
  }

  @Test func aClientWithKeysIsToldOfABrokerWithout() async throws {
    let loop = try SocketLoop(name: "broker-test")
    defer { loop.stop() }
    let configuration = BrokerConfiguration(clients: try BindAddress("tcp://127.0.0.1:*"), dataDirectory: folder.path + "/data")
    let broker = BrokerService(configuration, on: loop, logger: book.logger)
    let endpoints = try await broker.start()
    let error = try #require(await failure(try client(endpoints, keys.alice)))
    #expect(error.code == .denied && error.message.contains("works without keys"), "\(error)")
    await broker.stop()
  }

  /// A tenant's jobs over the wire: the other tenant's replies are those for a job that there is not.
  @Test func tenantsDoNotSeeEachOther() async throws {
    try await withBroker { _, endpoints in
      try await withWorker(endpoints, keys.worker) { log in
        try await log.line("ready")
        let alice = try client(endpoints, keys.alice)
        let bob = try client(endpoints, keys.bob)
        let job = try await alice.submit(Submission(runs: [SampleRun(label: "class-1", seed: 1)], key: "mine")).job
        do throws(ClientError) {
          _ = try await bob.status(of: job)
          Issue.record("bob sees it")
        } catch {
          #expect(error.refusal == BrokerCore.noJob(job))
        }
        #expect(try await bob.jobs() == [])
        #expect(try await alice.jobs().map(\.tenant) == ["alice"])
        #expect(try await bob.submit(Submission(runs: [SampleRun(label: "class-2", seed: 2)], key: "mine")).duplicate == false)
        try await book.line("refused 127.0.0.1, key \(keys.bob.publicKey)", "asked for job \(job) of another")
      }
    }
  }

  @Test func aClientIsCutOffAndLetInWhileTheBrokerRuns() async throws {
    try await withBroker { broker, endpoints in
      try await withWorker(endpoints, keys.worker) { log in
        try await log.line("ready")
        let alice = try client(endpoints, keys.alice)
        // There is no worker for the second stage, so it never ends.
        let job = try await alice.submit(Submission(runs: [SampleRun(label: "class-1", seed: 1)])).job
        var events = alice.watch(job).makeAsyncIterator()
        _ = try await events.next()
        // Nobody tells the broker.
        try writeList(everyone(without: keys.alice))
        await #expect(throws: ClientError.self) { while try await events.next() != nil {} }
        let error = try #require(await failure(alice))
        #expect(error.code == .refused && error.message.contains("not on the broker's list"), "\(error)")
        try await book.line("refused 127.0.0.1, key \(keys.alice.publicKey)", "not on the list")
        let another = try #require(await failure(try client(endpoints, keys.alice)))
        #expect(another.code == .denied, "\(another)")
        // The operator does.
        try writeList(everyone())
        await broker.reload()
        #expect(await failure(alice) == nil)
        #expect(try await alice.status(of: job).state != .cancelled)
      }
    }
  }

  @Test func aWorkerTurnedAwayComesInOnceItIsListedAndLeavesWhenItIsNot() async throws {
    try await withBroker { broker, endpoints in
      let (alice, ops) = (try client(endpoints, keys.alice), try client(endpoints, keys.ops))
      try await withWorker(endpoints, keys.stranger) { log in
        let line = try await log.line("turned away")
        #expect(line.contains("'worker \(keys.stranger.publicKey) stages=base32'"), "\(line)")
        try writeList(everyone(and: "worker \(keys.stranger.publicKey) stages=sr64"))
        await broker.reload()
        try await log.line("turned away", "may serve sr64, and not base32")
        try writeList(everyone(and: "worker \(keys.stranger.publicKey) stages=base32"))
        await broker.reload()
        try await log.line("ready")
        let job = try await alice.submit(
          Submission(
            runs: [SampleRun(label: "class-1", seed: 1)], options: [StageOptions(stage: "base32", steps: 900)], holdAfter: "base32")
        ).job
        for try await status in ops.watch(job) where (status.stages.first?.running ?? 0) > 0 { break }
        try writeList(everyone())
        await broker.reload()
        #expect(try await ops.workers().isEmpty)
        #expect(try await ops.status(of: job).stages.first?.queued == 1)
        // Another worker finishes what it had begun.
        try await withWorker(endpoints, keys.worker) { _ in
          for try await status in ops.watch(job) where status.state == .held { break }
        }
      }
    }
  }

  @Test func aClientsKeyOpensNoWorkersPort() async throws {
    try await withBroker { _, endpoints in
      try await withWorker(endpoints, keys.alice) { log in
        let line = try await log.line("turned away")
        #expect(line.contains("'worker \(keys.alice.publicKey) stages=base32'"), "\(line)")
        try await book.line("refused 127.0.0.1, key \(keys.alice.publicKey)", "came to the workers' port")
      }
    }
  }

  @Test func aBadListLeavesTheOldOneInForce() async throws {
    try await withBroker { broker, endpoints in
      for (text, words) in [
        ("client nonsense tenant=x\n", "line 1: 'nonsense' is no public key"), ("", "lists nobody"),
        (everyone() + "\nworker \(keys.stranger.publicKey)\n", "line 5: the worker has no stages"),
      ] {
        try writeList(text)
        await broker.reload()
        try await book.line("error", listPath, words, "stays in force")
        #expect(await failure(try client(endpoints, keys.alice)) == nil)
        #expect(await failure(try client(endpoints, keys.stranger))?.code == .denied)
      }
      try FileManager.default.removeItem(atPath: listPath)
      try await book.line("error", listPath, "cannot be read", "stays in force")
      #expect(await failure(try client(endpoints, keys.alice)) == nil)
    }
  }

  @Test func aBrokerDoesNotBeginWithABadList() async throws {
    let loop = try SocketLoop(name: "broker-test")
    defer { loop.stop() }
    try writeList("client x\n")
    for path in [listPath, listPath + ".none"] {
      let configuration = BrokerConfiguration(
        clients: try BindAddress("tcp://127.0.0.1:*"), dataDirectory: folder.path + "/data",
        keys: .init(pair: keys.broker, accessList: path))
      let broker = BrokerService(configuration, on: loop, logger: book.logger)
      let error = await #expect(throws: BrokerError.self) { _ = try await broker.start() }
      #expect(error?.code == .badAccessList && error?.message.contains(path) == true, "\(String(describing: error))")
    }
  }
}
