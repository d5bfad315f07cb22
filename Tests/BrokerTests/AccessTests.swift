import Testing
import Wire
import ZeroMQ

@testable import Broker

/// Who may do what, asked of the core.
struct AccessTests {
  let keys: TestKeys
  let pipeline = makePipeline()

  init() throws { keys = try TestKeys() }

  private func peer(_ number: UInt8) -> PeerID { PeerID([0, 0, 0, 0, number]) }

  private func driver(_ list: AccessList? = nil) throws -> CoreDriver { CoreDriver(access: try list ?? keys.list()) }

  private func submission(_ seed: UInt64 = 1, key: String = "", tenant: String = "") -> Submission {
    Submission(runs: [SampleRun(label: "clay", seed: seed, count: 2)], key: key, tenant: tenant)
  }

  /// Two workers, one a stage.
  private func addWorkers(_ driver: CoreDriver) {
    for stage in 0..<2 {
      driver.sender = keys.sender(keys.worker)
      driver.hello(peer(UInt8(100 + stage)), makeHello("w\(stage)", pipeline: pipeline, stage: stage))
    }
  }

  private func ask(_ driver: CoreDriver, _ who: CurveKeyPair, _ request: ClientRequest) -> ClientReply? {
    driver.sender = keys.sender(who)
    return driver.ask(request, from: peer(1))
  }

  private func submit(_ driver: CoreDriver, _ who: CurveKeyPair, _ submission: Submission) throws -> Acceptance {
    guard case .accepted(let acceptance)? = ask(driver, who, .submit(submission)) else { throw NoAnswer() }
    return acceptance
  }

  private func requests(_ job: JobID) -> [ClientRequest] {
    [
      .status(job, limit: 0), .watch(job), .fetch(job, sample: 0), .fetch(job, sample: 0, stage: "stage0"), .fetch(job, sample: 99),
      .cancel(job), .release(job, keep: [0]), .release(job, keep: []), .retry(job, samples: []), .retry(job, samples: [99]),
      .history(job, sample: 0),
    ]
  }

  @Test func anothersJobIsLikeNone() throws {
    let driver = try driver()
    addWorkers(driver)
    let job = try submit(driver, keys.alice, submission()).job
    let none = JobID(rawValue: 0x0123_4567_89AB_CDEF)
    func bytes(_ request: ClientRequest) throws -> [UInt8] {
      let reply = try #require(ask(driver, keys.bob, request))
      return try WireCodec.encode(reply, request: 1).flatMap(\.bytes)
    }
    for state in ["running", "done"] {
      for (request, without) in zip(requests(job), requests(none)) {
        let text = String(decoding: try bytes(request), as: UTF8.self)
        let expected = String(decoding: try bytes(without), as: UTF8.self)
        #expect(text == expected.replacing("\(none)", with: "\(job)"), "\(request) of a job that is \(state)")
      }
      driver.sender = keys.sender(keys.worker)
      if state == "running" { driver.drain([peer(100), peer(101)], pipeline: pipeline) }
    }
    // None of it did anything.
    guard case .jobs(let jobs)? = ask(driver, keys.alice, .status(job, limit: 0)) else {
      Issue.record("it is gone")
      return
    }
    #expect(jobs.first?.state == .done)
    #expect(driver.core.footprint.watches == 0)
    let logged = driver.logs.filter { $0.level == "warning" && $0.text.contains("asked for job \(job) of another") }
    #expect(!logged.isEmpty && logged.allSatisfy { $0.text.contains("10.0.0.7") && $0.text.contains(keys.bob.publicKey.text) })
  }

  @Test func listsHoldOnesOwnAndAnAdminsHoldAll() throws {
    let driver = try driver()
    addWorkers(driver)
    let hers = try submit(driver, keys.alice, submission(1)).job
    let his = try submit(driver, keys.bob, submission(2)).job
    for assignment in driver.takeAssignments(peer(100)) {
      driver.sender = keys.sender(keys.worker)
      driver.handle(.worker(peer(100), .failure(assignment.task, reason: "broken", permanent: true)))
    }
    func listed(_ who: CurveKeyPair, _ request: ClientRequest) -> Set<JobID> {
      guard case .jobs(let jobs)? = ask(driver, who, request) else { return [] }
      return Set(jobs.map(\.job))
    }
    #expect(listed(keys.alice, .status(nil, limit: 0)) == [hers])
    #expect(listed(keys.bob, .status(nil, limit: 1)) == [his])
    #expect(listed(keys.ops, .status(nil, limit: 0)) == [hers, his])
    #expect(listed(keys.alice, .dead(limit: 0)) == [hers])
    #expect(listed(keys.bob, .dead(limit: 0)) == [])
    #expect(listed(keys.ops, .dead(limit: 0)) == [hers])
    guard case .cancelled? = ask(driver, keys.ops, .cancel(his)) else {
      Issue.record("an admin cannot cancel")
      return
    }
  }

  @Test func aJobIsItsKeysTenants() throws {
    let driver = try driver()
    addWorkers(driver)
    for tenant in ["", "alice"] {
      let job = try submit(driver, keys.alice, submission(tenant: tenant)).job
      guard case .jobs(let jobs)? = ask(driver, keys.alice, .status(job, limit: 0)) else { throw NoAnswer() }
      #expect(jobs.first?.tenant == "alice")
    }
    for who in [keys.alice, keys.ops] {
      guard case .refused(let refusal)? = ask(driver, who, .submit(submission(tenant: "bob"))) else {
        Issue.record("submitted for another")
        return
      }
      #expect(refusal.code == .invalid && refusal.reason.contains("leave the tenant out"))
    }
    #expect(driver.logs.contains { $0.text.contains("10.0.0.7") && $0.text.contains("tried to submit for another") })
  }

  @Test func idempotencyKeysAreATenantsOwn() throws {
    let driver = try driver()
    addWorkers(driver)
    let hers = try submit(driver, keys.alice, submission(1, key: "same"))
    let his = try submit(driver, keys.bob, submission(2, key: "same"))
    #expect(hers.job != his.job && !his.duplicate)
    #expect(try submit(driver, keys.alice, submission(1, key: "same")) == Acceptance(job: hers.job, duplicate: true, samples: 2))
    driver.restart()
    #expect(try submit(driver, keys.bob, submission(2, key: "same")) == Acceptance(job: his.job, duplicate: true, samples: 2))
  }

  @Test func workersKeysAreNoClientsNorTheOtherWayRound() throws {
    let driver = try driver()
    addWorkers(driver)
    let job = try submit(driver, keys.alice, submission()).job
    for request in requests(job) + [.submit(submission()), .dead(limit: 0), .workers, .status(nil, limit: 0)] {
      guard case .refused(let refusal)? = ask(driver, keys.worker, request) else {
        Issue.record("\(request) of a worker's key was answered")
        continue
      }
      #expect(refusal.reason.contains("worker's"), "\(refusal)")
    }
    guard case .located? = ask(driver, keys.worker, .locate) else {
      Issue.record("a worker cannot find its port")
      return
    }
    for (who, word) in [(keys.alice, "client's"), (keys.stranger, "not on the broker's list")] {
      driver.sender = keys.sender(who)
      driver.hello(peer(50), makeHello("x", pipeline: pipeline))
      guard case .disconnect(let reason)? = driver.takeCommands(peer(50)).first else {
        Issue.record("welcomed")
        continue
      }
      #expect(reason.contains(word))
    }
    #expect(driver.core.summary.workers == 2)
  }

  @Test func aWorkerServesItsKeysStages() throws {
    let other = try CurveKeyPair.generate()
    let driver = try driver(keys.list(and: "worker \(other.publicKey) stages=stage1"))
    driver.sender = keys.sender(other)
    driver.hello(peer(9), makeHello("w", pipeline: pipeline, stage: 0))
    guard case .disconnect(let reason)? = driver.takeCommands(peer(9)).first else {
      Issue.record("welcomed")
      return
    }
    #expect(reason.contains("may serve stage1, and not stage0"))
    driver.hello(peer(9), makeHello("w", pipeline: pipeline, stage: 1))
    #expect(driver.core.summary.workers == 1)
  }

  @Test func aWorkerThatIsTakenOffTheListLosesItsTasksAtOnce() throws {
    let second = try CurveKeyPair.generate()
    let driver = try driver(keys.list(and: "worker \(second.publicKey) stages=*"))
    driver.sender = keys.sender(keys.worker)
    driver.hello(peer(10), makeHello("old", pipeline: pipeline, slots: 2))
    let job = try submit(driver, keys.alice, submission()).job
    let held = driver.takeAssignments(peer(10))
    #expect(held.count == 2)
    driver.sender = keys.sender(second)
    driver.hello(peer(11), makeHello("new", boot: 2, pipeline: pipeline, slots: 2))
    driver.handle(.accessList(try keys.list(without: keys.worker, and: "worker \(second.publicKey) stages=*")))
    #expect(driver.takeCommands(peer(10)).contains { if case .disconnect = $0 { true } else { false } })
    let again = driver.takeAssignments(peer(11))
    #expect(Set(again.map(\.task.task)) == Set(held.map(\.task.task)))
    // What it still sends is worth nothing.
    driver.sender = keys.sender(keys.worker)
    driver.finish(held[0], at: peer(10), pipeline: pipeline)
    guard case .jobs(let jobs)? = ask(driver, keys.alice, .status(job, limit: 0)) else { throw NoAnswer() }
    #expect(jobs.first?.stages.first?.done == 0)
  }

  @Test func aClientThatIsTakenOffTheListHearsNothingMore() throws {
    let driver = try driver()
    addWorkers(driver)
    let job = try submit(driver, keys.alice, submission()).job
    driver.sender = keys.sender(keys.alice)
    driver.ask(.watch(job), from: peer(1), number: 7)
    driver.sender = keys.sender(keys.ops)
    driver.ask(.watch(job), from: peer(2), number: 8)
    driver.replies = []
    driver.handle(.accessList(try keys.list(without: keys.alice)))
    #expect(driver.replies.count == 1 && driver.replies[0].peer == peer(1) && driver.replies[0].request == 7)
    guard case .refused(let refusal)? = driver.replies.first?.reply else {
      Issue.record("not told")
      return
    }
    #expect(refusal.reason.contains("not on the broker's list"))
    driver.replies = []
    driver.sender = keys.sender(keys.worker)
    driver.drain([peer(100), peer(101)], pipeline: pipeline)
    #expect(!driver.replies.isEmpty && driver.replies.allSatisfy { $0.peer == peer(2) })
    for request in requests(job) + [.submit(submission()), .workers, .locate] {
      guard case .refused? = ask(driver, keys.alice, request) else {
        Issue.record("\(request) was answered")
        continue
      }
    }
    #expect(driver.core.footprint.watches == 0)
    // An image that waited to be sent is not.
    var order = ImageOrder(
      key: TensorKey(job: job, sample: 0, stage: 1), label: 0, seed: 0,
      digest: try #require(ContentDigest([UInt8](repeating: 0, count: 32))),
      numerics: "", stage: "", asker: keys.alice.publicKey)
    #expect(!driver.maySend(order))
    order.asker = keys.ops.publicKey
    #expect(driver.maySend(order))
  }

  @Test func termsOfTenantsComeFromTheList() throws {
    let lines = "client \(keys.stranger.publicKey) tenant=carol weight=3 max-tasks=4"
    let driver = try driver(keys.list(and: lines))
    addWorkers(driver)
    #expect(driver.core.weight(of: "carol") == 3 && driver.core.weight(of: "alice") == 1)
    _ = try submit(driver, keys.stranger, submission(1))
    guard case .refused(let refusal)? = ask(driver, keys.stranger, .submit(submission(2))) else {
      Issue.record("above its limit")
      return
    }
    #expect(refusal.code == .overloaded && refusal.reason.contains("4 allowed"))
    _ = try submit(driver, keys.alice, submission(3))
    driver.handle(.accessList(try keys.list(and: "client \(keys.stranger.publicKey) tenant=carol")))
    #expect(driver.core.weight(of: "carol") == 1)
    _ = try submit(driver, keys.stranger, submission(2))
  }

  @Test func nobodyTakesAnothersPlace() throws {
    let second = try CurveKeyPair.generate()
    let driver = try driver(keys.list(and: "worker \(second.publicKey) stages=*"))
    driver.sender = keys.sender(keys.worker)
    driver.hello(peer(10), makeHello("w", pipeline: pipeline, slots: 2))
    _ = try submit(driver, keys.alice, submission())
    let held = driver.takeAssignments(peer(10))
    // Another that ZeroMQ gives the same name, after the first one's connection is gone.
    driver.sender = keys.sender(second)
    driver.finish(try #require(held.first), at: peer(10), pipeline: pipeline)
    #expect(driver.takeCommands(peer(10)).contains { if case .disconnect = $0 { true } else { false } })
    #expect(driver.core.summary.workers == 0)
    // Names that peers choose are free for others as soon as they are gone.
    driver.sender = keys.sender(keys.alice)
    guard case .refused(let refusal)? = driver.ask(.workers, from: "alice") else {
      Issue.record("answered")
      return
    }
    #expect(refusal.reason.contains("routing id"))
    #expect(
      !peer(1).isChosen && PeerID([1, 0, 0, 0, 1]).isChosen && PeerID([0, 1]).isChosen && PeerID([UInt8](repeating: 0, count: 9)).isChosen)
  }

  @Test func whyAWorkerIsInQuarantineNamesNobodysJobs() throws {
    let driver = try driver()
    driver.core.quarantine.insert(QuarantineRecord(name: "w0", boot: 1, reason: "disagrees on 0123456789abcdef/0/0"))
    addWorkers(driver)
    func reason(_ who: CurveKeyPair) -> String? {
      guard case .workers(let workers)? = ask(driver, who, .workers) else { return nil }
      return workers.first { $0.name == "w0" }?.quarantine
    }
    #expect(reason(keys.alice) == "it computed wrongly")
    #expect(reason(keys.ops)?.contains("0123456789abcdef") == true)
  }
}
