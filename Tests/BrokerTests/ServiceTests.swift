import Glibc
import Logging
import Testing
import Wire
import ZeroMQ

@testable import Broker

/// The whole broker over real sockets, in this process.
struct ServiceTests {
  let folder = TemporaryFolder()
  let pipeline = makePipeline()

  /// A broker that is stopped at the end.
  func withBroker(
    _ limits: BrokerLimits = BrokerLimits(), _ body: (BrokerService, BrokerService.Endpoints) async throws -> Void
  ) async throws {
    let loop = try SocketLoop(name: "broker-test")
    let configuration = BrokerConfiguration(
      clients: try BindAddress("tcp://127.0.0.1:*"), dataDirectory: folder.path, limits: limits)
    let broker = BrokerService(configuration, on: loop, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    defer { loop.stop() }
    try await body(broker, try await broker.start())
    await broker.stop()
  }

  @Test func aJobGoesThroughRealSockets() async throws {
    var job: JobID?
    try await withBroker { _, endpoints in
      let peers = try TestPeers(endpoints)
      defer { peers.close() }
      guard case .located(let port) = try peers.ask(.locate) else {
        Issue.record("no port")
        return
      }
      #expect(endpoints.workers.hasSuffix(":\(port)"))
      for stage in 0..<2 { peers.addWorker(makeHello("w\(stage)", pipeline: pipeline, stage: stage, slots: 3)) }
      let submission = Submission(runs: [SampleRun(label: "wood", seed: 3, count: 8)], key: "once")
      let reply = try peers.ask(.submit(submission))
      guard case .accepted(let acceptance) = reply else {
        Issue.record("not accepted: \(reply)")
        return
      }
      job = acceptance.job
      let status = try peers.watch(acceptance.job)
      #expect(status.state == .done && status.stages.map(\.done) == [8, 8])
      for index in 0..<8 as Range<UInt32> {
        guard case .image(let image) = try peers.ask(.fetch(acceptance.job, sample: index)) else {
          Issue.record("no image \(index)")
          continue
        }
        #expect(image.tensor == Oracle.image(label: 1, seed: 3 + UInt64(index), pipeline: pipeline, options: status.options))
      }
    }
    // Another broker on the same directory knows it all.
    try await withBroker { _, endpoints in
      let peers = try TestPeers(endpoints)
      defer { peers.close() }
      let id = try #require(job)
      guard case .jobs(let jobs) = try peers.ask(.status(nil, limit: 0)), case .image = try peers.ask(.fetch(id, sample: 7)) else {
        Issue.record("it has forgotten")
        return
      }
      #expect(jobs.map(\.state) == [.done])
    }
  }

  @Test func garbageIsAnsweredAndCounted() async throws {
    try await withBroker { broker, endpoints in
      let peers = try TestPeers(endpoints)
      defer { peers.close() }
      let garbage: [[Frame]] = [
        [Frame([])], [Frame([0xFF, 0xFF, 0xFF])], [Frame([1, 2]), Frame([3])], Array(repeating: Frame([0]), count: 20),
        [Frame(Array(repeating: 8, count: 60_000))],
      ]
      for frames in garbage {
        try peers.client.send(frames)
        guard case .refused(let refusal) = try peers.nextReply() else {
          Issue.record("garbage was not refused")
          return
        }
        #expect(refusal.code == .invalid || refusal.code == .unsupportedVersion)
      }
      let stranger = try peers.dial(endpoints.workers)
      for frames in garbage {
        try stranger.send(frames)
        guard case .disconnect = try peers.nextCommand(stranger) else {
          Issue.record("a stranger was not disconnected")
          return
        }
      }
      #expect(await broker.counters.garbage == 2 * garbage.count)
      // Messages of too many frames leave no address to answer to.
      try peers.client.send(Array(repeating: Frame([0]), count: 50))
      guard case .jobs = try peers.ask(.status(nil, limit: 1)) else {
        Issue.record("the broker is gone")
        return
      }
    }
  }

  @Test func publicAddressesNeedConsentAndBadOnesAreExplained() async throws {
    func failure(_ clients: String, insecure: Bool = false) async throws -> String {
      let loop = try SocketLoop(name: "broker-test")
      defer { loop.stop() }
      do {
        let configuration = BrokerConfiguration(
          clients: try BindAddress(clients), dataDirectory: TemporaryFolder().path, isInsecureAllowed: insecure)
        let broker = BrokerService(configuration, on: loop, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        _ = try await broker.start()
        await broker.stop()
        return ""
      } catch {
        return "\(error)"
      }
    }
    for word in ["weir keygen", "--key-file", "--allow", "--insecure"] { #expect(try await failure("tcp://0.0.0.0:*").contains(word)) }
    #expect(try await failure("tcp://*:*").contains("--insecure"))
    #expect(try await failure("tcp://0.0.0.0:*", insecure: true) == "")
    #expect(try await failure("tcp://localhost:0") == "")
    #expect(try await failure("tcp://127.0.0.1").contains("write it like"))
    #expect(try await failure("tcp://127.0.0.1:65536").contains("write it like"))
    #expect(try await failure("http://127.0.0.1:1").contains("write it like"))
    #expect(try await failure("tcp://127.0.0.1:65535").contains("--bind-workers"))
    let holder = try Socket(try Context(), .router)
    try holder.bind("tcp://127.0.0.1:*")
    #expect(try await failure(try holder.lastEndpoint).contains("in use"))
    holder.close()
  }

  @Test func aBurstOfSubmitsIsAnsweredInFull() async throws {
    try await withBroker { _, endpoints in
      let peers = try TestPeers(endpoints)
      defer { peers.close() }
      peers.addWorker(makeHello("w", pipeline: pipeline))
      _ = try peers.ask(.workers)
      var accepted = 0
      var sent = 0
      while accepted < 600 {
        if sent < 600, peers.trySend(.submit(Submission(runs: [SampleRun(label: "0", seed: 1)]))) {
          sent += 1
          continue
        }
        // ZeroMQ may hear a little late that there is room again, when all that was sent is answered.
        if accepted == sent { continue }
        let reply = try peers.nextReply()
        guard case .accepted = reply else {
          Issue.record("after \(accepted) of \(sent): \(reply)")
          return
        }
        accepted += 1
      }
      guard case .jobs(let jobs) = try peers.ask(.status(nil, limit: 1_000)) else { return }
      #expect(!jobs.isEmpty)
    }
  }

  /// Who asks for much and reads nothing holds a few images of the broker's memory, and gets them all once it reads; others don't wait for it.
  @Test func aSlowReaderHoldsLittleAndLosesNothing() async throws {
    try await withBroker { broker, endpoints in
      let peers = try TestPeers(endpoints)
      defer { peers.close() }
      let pipeline = makePipeline(stages: 1, resolution: 256)
      peers.addWorker(makeHello("w", pipeline: pipeline, bytes: 1 << 30))
      guard case .accepted(let acceptance) = try peers.ask(.submit(Submission(runs: [SampleRun(label: "wood", seed: 3)]))),
        case .done = try peers.watch(acceptance.job).state
      else {
        Issue.record("the job does not end")
        return
      }
      let bytes = 3 * 256 * 256 * 4
      let asked = 200
      let slow = try peers.dial(endpoints.clients)
      let frames = try WireCodec.encode(.fetch(acceptance.job, sample: 0), request: 1)
      var sent = 0
      while sent < asked {
        guard (try? slow.send(frames)) != nil else { continue }
        sent += 1
      }
      // Its requests are read before this client's are answered.
      for _ in 0..<20 {
        guard case .image(let image) = try peers.ask(.fetch(acceptance.job, sample: 0)) else {
          Issue.record("the other gets no image")
          return
        }
        #expect(image.tensor.data.count == bytes)
        #expect(await broker.counters.bytesToClients <= 4 << 20 + 3 * bytes)
      }
      var received = 0
      let deadline = ContinuousClock.now + .seconds(60)
      while received < asked, ContinuousClock.now < deadline {
        guard let frames = try slow.receive() else { continue }
        guard case (1, .image(let image)) = try WireCodec.decodeClientReply(frames) else {
          Issue.record("no image")
          return
        }
        #expect(image.tensor.data.count == bytes)
        received += 1
      }
      #expect(received == asked)
      #expect(await broker.counters.droppedReplies == 0)
    }
  }

  /// Another program's write lock is what a full disk is to the broker: nothing can be written until it goes.
  @Test func whatCannotBeWrittenIsRefusedAndWorkGoesOn() async throws {
    try await withBroker { _, endpoints in
      let peers = try TestPeers(endpoints)
      defer { peers.close() }
      let worker = try peers.dial(endpoints.workers)
      try worker.send(try WireCodec.encode(.hello(makeHello("w", pipeline: makePipeline(stages: 1)))))
      guard case .welcome = try peers.nextCommand(worker),
        case .accepted(let acceptance) = try peers.ask(.submit(Submission(runs: [SampleRun(label: "wood", seed: 3)]))),
        case .assign(let assignment) = try peers.nextCommand(worker)
      else {
        Issue.record("the job does not begin")
        return
      }
      let lock = try WriteLock(folder.path + "/journal.sqlite")
      let output = Oracle.output(1, resolution: 1)
      try worker.send(
        try WireCodec.encode(
          .result(TaskResult(task: assignment.task, digest: output.digest, computeMilliseconds: 1, tensor: output))))
      // The result makes the broker notice; until then it would take a job, and answer when it can.
      var refusal: Refusal?
      while refusal == nil {
        guard case .jobs(let jobs) = try peers.ask(.status(acceptance.job, limit: 0)) else { continue }
        if jobs.first?.state == .done, case .refused(let reason) = try peers.ask(.cancel(acceptance.job)) { refusal = reason }
      }
      #expect(refusal?.code == .overloaded)
      #expect((refusal?.retryAfterMilliseconds ?? 0) > 0)
      #expect(try worker.receive() == nil, "nothing is settled that is not on the disk")
      try lock.release()
      #expect(try peers.nextCommand(worker) == .settled(assignment.task))
      guard case .accepted = try peers.ask(.submit(Submission(runs: [SampleRun(label: "wood", seed: 4)]))),
        case .image(let image) = try peers.ask(.fetch(acceptance.job, sample: 0))
      else {
        Issue.record("it does not go on")
        return
      }
      #expect(image.tensor == output)
    }
  }
}
