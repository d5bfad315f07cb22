import Client
import Wire
import Worker
import ZeroMQ

/// A client watches many jobs, each many times over, and reads much more slowly than they change; then it asks for all of their images at once
/// and takes its time again. It may miss states, but neither an end nor an image; what the broker keeps for it is bounded, and others are
/// served as if it were not there.
func slowWatcher(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let shape = ChaosFleet.Shape(stepMilliseconds: 2, slots: 16, checkpointMilliseconds: 2_000)
  return try await ChaosFleet.with(settings, shape) { fleet in
    // What the broker keeps of recent outputs, in bounds, it keeps from here on.
    let first = fleet.submission(0, samples: 80, steps: [2, 2, 2])
    try await fleet.verify(try await fleet.client.submit(first).job, of: first)
    let submissions = (1...120).map { fleet.submission($0, samples: 1, steps: [500, 500, 500]) }
    let jobs = try await fleet.submitAll(submissions)
    let before = await fleet.brokerMemory()
    let copies = 8
    let slow = try Reader(fleet.endpoint)
    let quick = try Reader(fleet.endpoint)
    try await slow.watch(jobs, copies: copies)
    try await quick.watch(jobs, copies: 1)
    let reading = Task { while await quick.ends.count < jobs.count { try await quick.read(1_000, pause: .milliseconds(5)) } }
    let ended = Task { for job in jobs { _ = try await fleet.finished(job) } }
    let isOver = Flag()
    let dawdling = Task {
      while await !isOver.isSet { try await slow.read(1, pause: .milliseconds(10)) }
    }
    try await ended.value
    try await reading.value
    await isOver.set()
    try await dawdling.value
    let watching = await fleet.brokerMemory()
    // Now it reads on.
    let patience = ContinuousClock.now + .seconds(60)
    while await slow.ends.count < jobs.count * copies, .now < patience { try await slow.read(1_000, pause: .milliseconds(5)) }
    let (ends, states, offered) = (await slow.ends.count, await slow.states, await quick.states * copies)
    try expect(ends == jobs.count * copies, "the slow client was told of \(ends) ends of \(jobs.count * copies)")
    try expect(4 * states < 3 * offered, "the slow client was told \(states) states of \(offered): it was not slow enough to tell")

    try await slow.fetch(jobs)
    let other = fleet.submission(1_000, samples: 3, steps: [5, 5, 5])
    try await fleet.verify(try await fleet.client.submit(other).job, of: other)
    let fetching = await fleet.brokerMemory()
    let end = ContinuousClock.now + .seconds(120)
    while await slow.images.count < jobs.count, .now < end { try await slow.read(1, pause: .milliseconds(10)) }
    let images = await slow.images
    try expect(images.count == jobs.count, "the slow client got \(images.count) images of \(jobs.count)")
    for (job, submission) in zip(jobs, submissions) {
      let isRight = try await fleet.oracle.image(ImageOracle.samples(of: submission)[0]).digest == images[job]
      try expect(isRight, "the image of job \(job) is not what the oracle says")
    }
    await slow.close()
    await quick.close()
    try expect(watching - before < 60, "the broker took \(watching - before) MiB for what a slow client watches")
    try expect(fetching - before < 60, "the broker took \(fetching - before) MiB for images that a slow client asked for")
    return [
      "states_read": Double(states), "states_offered": Double(offered), "broker_mib_before": before, "broker_mib_watching": watching,
      "broker_mib_fetching": fetching,
    ]
  }
}

private actor Flag {
  private(set) var isSet = false

  func set() { isSet = true }
}

/// A client's end without the client's own care: it reads when it is told to.
private actor Reader {
  private let context: Context
  private let socket: Socket
  private var lastRequest: UInt64 = 0
  private(set) var states = 0
  private(set) var ends: Set<UInt64> = []
  /// Their tensors' digests.
  private(set) var images: [JobID: [UInt8]] = [:]

  init(_ endpoint: String) throws {
    context = try Context()
    var options = SocketOptions()
    options.receiveHighWaterMark = 1
    options.sendHighWaterMark = 10_000
    socket = try Socket(context, .dealer, options)
    try socket.connect(endpoint)
  }

  func watch(_ jobs: [JobID], copies: Int) throws {
    for job in jobs {
      for _ in 0..<copies { try ask(.watch(job)) }
    }
  }

  func fetch(_ jobs: [JobID]) throws {
    for job in jobs { try ask(.fetch(job, sample: 0)) }
  }

  private func ask(_ request: ClientRequest) throws {
    lastRequest += 1
    try socket.send(try WireCodec.encode(request, request: lastRequest))
  }

  /// Reads at most so many answers, then does something else.
  func read(_ limit: Int, pause: Duration) async throws {
    for _ in 0..<limit {
      guard let frames = try socket.receive() else { break }
      let (request, reply) = try WireCodec.decodeClientReply(frames)
      switch reply {
      case .event(let status):
        states += 1
        if status.state.isFinal { ends.insert(request) }
      case .image(let image):
        try expect(image.tensor.digest == image.digest, "an image of job \(image.job) came with another digest")
        images[image.job] = image.digest
      default: throw Broken("a slow client was answered \(reply)")
      }
    }
    try await Task.sleep(for: pause)
  }

  func close() {
    socket.close()
    context.terminate()
  }
}
