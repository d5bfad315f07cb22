import Client
import Testing
import Wire
import ZeroMQ

@Suite(.timeLimit(.minutes(1))) struct RequestTests {
  let job = JobID(rawValue: 7)

  @Test func everyRequestGetsItsAnswer() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    let job = job
    let worker = WorkerStatus(
      name: "w", stage: "sr64", pipeline: "avatars", digest: [UInt8](repeating: 1, count: 32), numerics: "n", slots: 4, running: 1,
      finished: 2, stepMilliseconds: 1.5,
      silentMilliseconds: 3, host: "h", pid: 9)
    let script = Task {
      for _ in 0..<10 {
        let received = await broker.next()
        switch received.request {
        case .submit(let submission):
          #expect(submission.runs == clay.runs)
          #expect(!submission.key.isEmpty)
          try await broker.answer(received, .accepted(Acceptance(job: job, duplicate: false, samples: 2)))
        case .status(let asked?, _): try await broker.answer(received, .jobs([status(asked)]))
        case .status(nil, let limit):
          #expect(limit == 5)
          try await broker.answer(received, .jobs([status(job, .done), status(JobID(rawValue: 6))]))
        case .fetch(let job, let sample, _): try await broker.answer(received, .image(try image(job, sample)))
        case .cancel: try await broker.answer(received, .cancelled(Cancellation(queued: 1, stopped: 2, tooLate: 3)))
        case .workers: try await broker.answer(received, .workers([worker]))
        case .release(_, let keep):
          #expect(keep == [0, 3])
          try await broker.answer(received, .released(Choice(kept: 2, cancelled: 5)))
        case .retry(_, let samples): try await broker.answer(received, .retried(samples: UInt32(samples.count)))
        case .dead: try await broker.answer(received, .jobs([status(job, .failed)]))
        case .history(_, let sample):
          let attempt = Attempt(sample: sample, stage: 1, number: 2, worker: "w", numerics: "cpu", startedUnixMilliseconds: 9)
          try await broker.answer(received, .history([attempt]))
        case .watch, .locate: Issue.record("not asked for: \(received.request)")
        }
      }
    }
    #expect(try await client.submit(clay) == Acceptance(job: job, duplicate: false, samples: 2))
    #expect(try await client.status(of: job) == status(job))
    #expect(try await client.jobs(limit: 5).map(\.job.rawValue) == [7, 6])
    #expect(try await client.fetch(job, sample: 1) == image(job, 1))
    #expect(try await client.cancel(job) == Cancellation(queued: 1, stopped: 2, tooLate: 3))
    #expect(try await client.workers() == [worker])
    #expect(try await client.release(job, keep: [0, 3]) == Choice(kept: 2, cancelled: 5))
    #expect(try await client.retry(job, samples: [1, 2, 3]) == 3)
    #expect(try await client.deadJobs().map(\.state) == [.failed])
    #expect(try await client.history(of: job, from: 4).map(\.sample) == [4])
    try await script.value
    await broker.stop()
  }

  @Test func anUnansweredRequestIsSentAgainOnANewSocket() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: stubborn)
    async let accepted = client.submit(clay)
    let first = await broker.next()
    let second = await broker.next()
    #expect(first.peer != second.peer)
    #expect(first.number == second.number)
    #expect(first.request == second.request, "with the same key, too: it must stay one job")
    try await broker.answer(second, .accepted(Acceptance(job: job, duplicate: false, samples: 2)))
    #expect(try await accepted.job == job)
    await broker.stop()
  }

  @Test func aBrokerThatComesLateIsFound() async throws {
    let (early, endpoint) = try await ScriptedBroker.start()
    await early.stop()
    let client = try WeirClient(broker: endpoint, options: stubborn)
    // More than the socket's queue holds.
    let count = 200
    let answers = Task {
      try await withThrowingTaskGroup(of: (UInt64, UInt64).self) { group in
        for number in 1...UInt64(count) {
          group.addTask { (number, try await client.status(of: JobID(rawValue: number)).job.rawValue) }
        }
        return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
      }
    }
    let (broker, _) = try await ScriptedBroker.start(at: endpoint)
    let script = Task {
      while !Task.isCancelled {
        let received = await broker.next()
        // It fails for a socket that the client has given up meanwhile.
        if case .status(let job?, _) = received.request { try? await broker.answer(received, .jobs([status(job)])) }
      }
    }
    let found = try await answers.value
    #expect(found.count == count)
    #expect(found.allSatisfy { $0.key == $0.value })
    script.cancel()
    await broker.stop()
  }

  @Test func answersInAnyOrderReachTheirRequests() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    async let a = client.fetch(job, sample: 0)
    async let b = client.fetch(job, sample: 1)
    async let c = client.fetch(job, sample: 2)
    var requests: [ScriptedBroker.Received] = []
    for _ in 0..<3 { requests.append(await broker.next()) }
    for received in requests.reversed() {
      guard case .fetch(let job, let sample, _) = received.request else { continue }
      try await broker.answer(received, .image(try image(job, sample)))
    }
    #expect(try await [a.sample, b.sample, c.sample] == [0, 1, 2])
    await broker.stop()
  }

  @Test func threeClientsGetTheirOwnAnswers() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let script = Task {
      var seen: [ScriptedBroker.Received] = []
      for _ in 0..<3 { seen.append(await broker.next()) }
      // All three use the same request numbers.
      #expect(Set(seen.map(\.number)).count == 1)
      for received in seen {
        guard case .submit(let submission) = received.request else { continue }
        let job = JobID(rawValue: submission.runs[0].seed)
        try await broker.answer(received, .accepted(Acceptance(job: job, duplicate: false, samples: 1)))
      }
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for seed in 1...UInt64(3) {
        group.addTask {
          let client = try WeirClient(broker: endpoint, options: calm)
          #expect(try await client.submit(Submission(runs: [SampleRun(label: "clay", seed: seed)])).job.rawValue == seed)
        }
      }
      try await group.waitForAll()
    }
    try await script.value
    await broker.stop()
  }

  @Test func aRefusalIsPassedOn() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    let refusal = Refusal(.overloaded, "no room", retryAfterMilliseconds: 250)
    let script = Task { try await broker.answer(await broker.next(), .refused(refusal)) }
    let error = await #expect(throws: ClientError.self) { try await client.submit(clay) }
    #expect(error?.code == .refused)
    #expect(error?.refusal == refusal)
    try await script.value
    await broker.stop()
  }

  @Test func nobodyThere() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    await broker.stop()
    let client = try WeirClient(broker: endpoint, options: hasty)
    let error = await #expect(throws: ClientError.self) { try await client.workers() }
    #expect(error?.code == .unreachable)
    #expect(error?.message.contains(endpoint) == true)
    #expect(error?.message.contains("0.4 s") == true)
  }

  @Test func somethingElseThere() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: hasty)
    let script = Task {
      let garbage: [[Frame]] = [
        [Frame(Array("HTTP/1.1 400".utf8))], [Frame([])], [Frame([0xFF]), Frame([1, 2, 3])], (0..<100).map { Frame([UInt8($0)]) },
      ]
      while !Task.isCancelled {
        let received = await broker.next()
        for frames in garbage { try await broker.send(frames, to: received.peer) }
      }
    }
    let error = await #expect(throws: ClientError.self) { try await client.workers() }
    #expect(error?.code == .protocolViolation)
    #expect(error?.message.contains(endpoint) == true)
    script.cancel()
    await broker.stop()
  }

  @Test func garbageBetweenAnswersDoesNoHarm() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    async let workers = client.workers()
    let received = await broker.next()
    try await broker.send([Frame([0xFF, 0xFF])], to: received.peer)
    try await broker.send(WireCodec.encode(ClientReply.workers([]), request: received.number + 100), to: received.peer)
    try await broker.answer(received, .workers([]))
    #expect(try await workers.isEmpty)
    await broker.stop()
  }

  @Test func anAnswerToAnotherQuestion() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    let (job, other) = (job, JobID(rawValue: 99))
    let wrong: [ClientReply] = [.workers([]), .jobs([]), .jobs([status(other)]), .image(try image(other, 0)), .image(try image(job, 5))]
    let script = Task { for reply in wrong { try await broker.answer(await broker.next(), reply) } }
    for reply in wrong {
      let error = await #expect(throws: ClientError.self, "\(reply)") {
        if case .image = reply { _ = try await client.fetch(job, sample: 0) } else { _ = try await client.status(of: job) }
      }
      #expect(error?.code == .protocolViolation)
    }
    try await script.value
    await broker.stop()
  }

  @Test func wrongBytesAreFoundOut() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    var damaged = try image(job, 0)
    damaged.digest[31] ^= 1
    let reply = ClientReply.image(damaged)
    let script = Task { try await broker.answer(await broker.next(), reply) }
    let error = await #expect(throws: ClientError.self) { try await client.fetch(job, sample: 0) }
    #expect(error?.code == .corrupted)
    try await script.value
    await broker.stop()
  }

  @Test func aCancelledTaskStopsWaiting() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    let task = Task { try await client.workers() }
    let received = await broker.next()
    task.cancel()
    let error = await #expect(throws: ClientError.self) { try await task.value }
    #expect(error?.code == .cancelled)
    // The answer that comes all the same bothers nobody.
    try await broker.answer(received, .workers([]))
    async let jobs = client.jobs()
    try await broker.answer(await broker.next(), .jobs([]))
    #expect(try await jobs.isEmpty)
    await broker.stop()
  }

  @Test func closingEndsWhatWaits() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    let task = Task { try await client.workers() }
    _ = await broker.next()
    await client.close()
    #expect(await #expect(throws: ClientError.self) { try await task.value }?.code == .closed)
    #expect(await #expect(throws: ClientError.self) { try await client.workers() }?.code == .closed)
    await broker.stop()
  }

  @Test func aClientThatIsLetGoHangsUp() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let peer: Frame
    do {
      let client = try WeirClient(broker: endpoint, options: calm)
      async let workers = client.workers()
      let received = await broker.next()
      try await broker.answer(received, .workers([]))
      _ = try await workers
      peer = received.peer
    }
    // Until the ROUTER knows no such peer any more.
    var failure: ZeroMQError.Code?
    while failure != .hostUnreachable {
      do {
        try await broker.send([Frame([0])], to: peer)
        await Task.yield()
      } catch let error as ZeroMQError {
        failure = error.code
      }
    }
    await broker.stop()
  }

  @Test(arguments: [
    "", "localhost:7710", "http://localhost:7710", "tcp://", "tcp://nonsense", "tcp://127.0.0.1:port", "tcp://127.0.0.1:99999",
  ])
  func addressesThatAreNone(_ address: String) async {
    let error = await #expect(throws: ClientError.self) { _ = try await WeirClient(broker: address, options: hasty).workers() }
    #expect(error?.code == .invalidEndpoint)
    #expect(error?.message.contains(address) == true)
  }

  @Test func aSubmissionTooLargeForTheWire() async throws {
    let client = try WeirClient(broker: "tcp://127.0.0.1:9", options: hasty)
    let runs = (0..<UInt64(5000)).map { SampleRun(label: "a label of some length", seed: $0 * 2) }
    let error = await #expect(throws: ClientError.self) { try await client.submit(Submission(runs: runs)) }
    #expect(error?.code == .invalidRequest)
  }

  @Test func keysDiffer() {
    let keys = (0..<1000).map { _ in WeirClient.randomKey() }
    #expect(Set(keys).count == 1000)
    #expect(keys.allSatisfy { $0.utf8.count == 16 })
  }
}
