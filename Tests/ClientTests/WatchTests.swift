import Client
import Testing
import Wire

@Suite(.timeLimit(.minutes(1))) struct WatchTests {
  let job = JobID(rawValue: 7)

  @Test func statesUntilTheLast() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    var states = client.watch(job).makeAsyncIterator()
    let received = await broker.next()
    #expect(received.request == .watch(job))
    let (a, b, c) = (status(job, .queued), status(job, done: 1, steps: 12), status(job, .done, done: 2, steps: 20))
    try await broker.answer(received, .event(a))
    #expect(try await states.next() == a)
    // The same again is no news.
    try await broker.answer(received, .event(a))
    try await broker.answer(received, .event(b))
    #expect(try await states.next() == b)
    try await broker.answer(received, .event(c))
    #expect(try await states.next() == c)
    #expect(try await states.next() == nil)
    await broker.stop()
  }

  @Test func aSlowReaderGetsTheLastState() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    let stream = client.watch(job)
    let received = await broker.next()
    for steps in 0..<UInt64(20) { try await broker.answer(received, .event(status(job, done: 1, steps: steps))) }
    try await broker.answer(received, .event(status(job, .done, done: 2, steps: 20)))
    var last: JobStatus?
    for try await status in stream { last = status }
    #expect(last == status(job, .done, done: 2, steps: 20))
    await broker.stop()
  }

  @Test func goesOnAfterTheBrokerCameBack() async throws {
    let (first, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: stubborn)
    var states = client.watch(job).makeAsyncIterator()
    try await first.answer(await first.next(), .event(status(job)))
    #expect(try await states.next() == status(job))
    await first.stop()
    let (second, _) = try await ScriptedBroker.start(at: endpoint)
    let again = await second.next()
    #expect(again.request == .watch(job))
    try await second.answer(again, .event(status(job, done: 1, steps: 15)))
    #expect(try await states.next() == status(job, done: 1, steps: 15))
    try await second.answer(again, .event(status(job, .done, done: 2, steps: 20)))
    #expect(try await states.next()?.state == .done)
    #expect(try await states.next() == nil)
    await second.stop()
  }

  @Test func asksAgainWhenNothingIsHeard() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: stubborn)
    var states = client.watch(job).makeAsyncIterator()
    let first = await broker.next()
    try await broker.answer(first, .event(status(job)))
    #expect(try await states.next() == status(job))
    // Nothing more about it, though the connection stands: it is asked for on the same one.
    let second = await broker.next()
    #expect(second.peer == first.peer)
    #expect(second.number == first.number)
    #expect(second.request == .watch(job))
    try await broker.answer(second, .event(status(job, .failed)))
    #expect(try await states.next()?.state == .failed)
    await broker.stop()
  }

  @Test func aJobThatIsNotThere() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    let job = job
    let script = Task { try await broker.answer(await broker.next(), .refused(Refusal(.notFound, "no such job"))) }
    let error = await #expect(throws: ClientError.self) { for try await _ in client.watch(job) {} }
    #expect(error?.refusal?.code == .notFound)
    try await script.value
    await broker.stop()
  }

  @Test func aBrokerWithoutRoomIsAskedLater() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: calm)
    var states = client.watch(job).makeAsyncIterator()
    try await broker.answer(await broker.next(), .refused(Refusal(.overloaded, "full", retryAfterMilliseconds: 20)))
    try await broker.answer(await broker.next(), .event(status(job, .done)))
    #expect(try await states.next()?.state == .done)
    await broker.stop()
  }

  @Test func givesUpOnABrokerThatStaysAway() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    await broker.stop()
    var options = hasty
    options.waitPatience = .milliseconds(300)
    let client = try WeirClient(broker: endpoint, options: options)
    let job = job
    let error = await #expect(throws: ClientError.self) { for try await _ in client.watch(job) {} }
    #expect(error?.code == .unreachable)
  }

  @Test func outlivesTheVariableThatHeldItsClient() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    var states = try WeirClient(broker: endpoint, options: calm).watch(job).makeAsyncIterator()
    let received = await broker.next()
    try await broker.answer(received, .event(status(job, .done)))
    #expect(try await states.next()?.state == .done)
    await broker.stop()
  }

  @Test func stoppingToListenEndsTheAsking() async throws {
    let (broker, endpoint) = try await ScriptedBroker.start()
    let client = try WeirClient(broker: endpoint, options: stubborn)
    let job = job
    let listener = Task { for try await _ in client.watch(job) {} }
    try await broker.answer(await broker.next(), .event(status(job)))
    listener.cancel()
    _ = try await listener.value
    // A watch that went on would ask again before this many other requests were answered one after the other.
    var watches = 0
    for _ in 0..<5 {
      async let workers = client.workers()
      var received = await broker.next()
      while received.request == .watch(job) {
        watches += 1
        received = await broker.next()
      }
      try await broker.answer(received, .workers([]))
      _ = try await workers
    }
    #expect(watches <= 1, "one may have been under way")
    await broker.stop()
  }
}
