public import Logging
import Synchronization
public import Wire
import ZeroMQ

/// A connection to a Weir broker: submits jobs, follows them, fetches their images.
///
/// ```swift
/// let client = try WeirClient(broker: "tcp://127.0.0.1:7710")
/// let job = try await client.submit(Submission(runs: [SampleRun(label: "clay", seed: 7, count: 4)])).job
/// for try await status in client.watch(job) { print(status.state) }
/// let image = try await client.fetch(job, sample: 0)
/// ```
///
/// Nothing is lost when a broker or a link goes down and comes back: a request without an answer is sent again, on a new socket, until
/// ``Options/patience`` ends (zguide's Lazy Pirate), and a watch asks again by itself. Sending twice is safe: a submission carries a key
/// that makes it one job, and the other requests change nothing or are the same done twice.
///
/// Requests may run at the same time on one client; each gets its own answer. All clients of a process share one thread.
public actor WeirClient {
  /// How long a client waits. The defaults suit a broker that is on this machine or across a good network.
  public struct Options: Hashable, Sendable {
    /// A request unanswered this long is sent again; the time doubles with each try, up to eight times this.
    public var resendAfter: Duration
    /// A submit, status, cancel or workers request unanswered this long has failed.
    public var patience: Duration
    /// A watch or a fetch gives up when the broker said nothing for this long: it should outlast a broker's restart.
    public var waitPatience: Duration
    /// A watched job of which nothing was heard this long is asked after.
    public var watchSilence: Duration

    public init(
      resendAfter: Duration = .milliseconds(2500), patience: Duration = .seconds(10), waitPatience: Duration = .seconds(120),
      watchSilence: Duration = .seconds(2)
    ) {
      self.resendAfter = resendAfter
      self.patience = patience
      self.waitPatience = waitPatience
      self.watchSilence = watchSilence
    }
  }

  /// The broker's endpoint.
  public nonisolated let broker: String
  public nonisolated let options: Options

  private let keys: ClientKeys?
  private let logger: Logger
  private let runtime: Runtime
  private let lastID = Atomic<UInt64>(0)
  private let line = Line()
  /// How often it has dialled.
  private var dials = 0
  private var outstanding: [UInt64: Outstanding] = [:]
  private var lastHeard: ContinuousClock.Instant?
  private var lastGarbage: (at: ContinuousClock.Instant, what: String)?
  /// Of a handshake that was broken off.
  private var lastBreak: (at: ContinuousClock.Instant, what: String)?
  private var isClosed = false

  public nonisolated var unownedExecutor: UnownedSerialExecutor { runtime.loop.asUnownedSerialExecutor() }

  /// Dials nothing yet: the first request does.
  ///
  /// - Parameters:
  ///   - broker: The broker's public endpoint, `tcp://host:port`.
  ///   - keys: For a broker with keys.
  ///   - logger: Told of resent requests (debug) and answers that make no sense (warning). The default is silent.
  /// - Throws: ``ClientError/Code/invalidEndpoint`` if `broker` is no TCP endpoint; ``ClientError/Code/unreachable`` if this process can't
  ///   have a ZeroMQ context or thread.
  public init(
    broker: String, keys: ClientKeys? = nil, options: Options = Options(),
    logger: Logger = Logger(label: "weir.client") { _ in SwiftLogNoOpLogHandler() }
  ) throws(ClientError) {
    // ZeroMQ takes some of what is none and then never connects.
    guard broker.hasPrefix("tcp://"), let colon = broker.lastIndex(of: ":"), broker[..<colon].utf8.count > 6,
      let port = UInt16(broker[colon...].dropFirst()), port > 0
    else {
      throw ClientError(.invalidEndpoint, "'\(broker)' is no broker address: write tcp://HOST:PORT, for example tcp://127.0.0.1:7710")
    }
    self.broker = broker
    self.keys = keys
    self.options = options
    self.logger = logger
    self.runtime = try Runtime.shared()
  }

  deinit {
    // Not an isolated deinit: the optimiser of Swift 6.3.1 fails on its users in other modules ("circular reference").
    Task { [line, loop = runtime.loop] in await loop.perform { line.end(on: loop) } }
  }

  // MARK: Requests

  /// Hands a job to the broker. When this returns, the job is on the broker's disk.
  ///
  /// A submission without a key gets a random one, so that it stays one job however often it has to be sent.
  ///
  /// - Throws: ``ClientError/Code/refused`` if the broker won't have it: ``ClientError/refusal`` says whether to try again later.
  public func submit(_ submission: Submission) async throws(ClientError) -> Acceptance {
    var submission = submission
    if submission.key.isEmpty { submission.key = Self.randomKey() }
    let reply = try await ask(.submit(submission), patience: options.patience)
    guard case .accepted(let acceptance) = reply else { throw unexpected(reply, to: "a submit") }
    return acceptance
  }

  /// A job's state, with its samples (the first 1,000) and its options as resolved.
  public func status(of job: JobID) async throws(ClientError) -> JobStatus {
    let reply = try await ask(.status(job, limit: 1), patience: options.patience)
    guard case .jobs(let jobs) = reply, jobs.count == 1, jobs[0].job == job else { throw unexpected(reply, to: "a status of one job") }
    return jobs[0]
  }

  /// The newest jobs, newest first, without their samples.
  public func jobs(limit: UInt32 = 100) async throws(ClientError) -> [JobStatus] {
    let reply = try await ask(.status(nil, limit: limit), patience: options.patience)
    guard case .jobs(let jobs) = reply else { throw unexpected(reply, to: "a status") }
    return jobs
  }

  /// A job's state now and whenever it changes, until the job is final: that state is the last element.
  ///
  /// A consumer that is slower than the job misses states in between, never the last one. The stream goes on by itself when the broker
  /// restarts; it ends with an error if the broker does not know the job or stays silent for ``Options/waitPatience``.
  public nonisolated func watch(_ job: JobID) -> AsyncThrowingStream<JobStatus, any Error> {
    AsyncThrowingStream(bufferingPolicy: .bufferingNewest(1)) { stream in
      let task = Task {
        do throws(ClientError) {
          _ = try await self.ask(.watch(job), patience: self.options.waitPatience, events: stream)
          stream.finish()
        } catch {
          // Whoever has stopped listening hears of no error: the stream tells of the end before it ends.
          if Task.isCancelled { stream.finish() } else { stream.finish(throwing: error) }
        }
      }
      stream.onTermination = { _ in task.cancel() }
    }
  }

  /// One finished image, its digest verified.
  ///
  /// - Parameters:
  ///   - sample: Counts from 0.
  ///   - stage: Its output instead, which is there from the stage's end to the next one's; empty: the finished image.
  /// - Throws: ``ClientError/Code/refused`` with ``Refusal/Code/notReady`` while the sample is not finished;
  ///   ``ClientError/Code/corrupted`` if the bytes that arrived are not those the digest was taken of.
  public func fetch(_ job: JobID, sample: UInt32, stage: String = "") async throws(ClientError) -> FinishedImage {
    let reply = try await ask(.fetch(job, sample: sample, stage: stage), patience: options.waitPatience)
    guard case .image(let image) = reply, image.job == job, image.sample == sample else { throw unexpected(reply, to: "a fetch") }
    guard image.tensor.digest == image.digest else {
      throw ClientError(.corrupted, "the bytes of image \(sample) of job \(job) do not have the digest that \(broker) sent with them")
    }
    return image
  }

  /// Stops a job: what runs ends at its next step. Says how many samples were in which state.
  public func cancel(_ job: JobID) async throws(ClientError) -> Cancellation {
    let reply = try await ask(.cancel(job), patience: options.patience)
    guard case .cancelled(let cancellation) = reply else { throw unexpected(reply, to: "a cancel") }
    return cancellation
  }

  /// Lets held samples go on and cancels the job's other open ones. Asked twice it answers alike.
  ///
  /// - Parameter keep: Samples, counted from 0; at least one.
  public func release(_ job: JobID, keep: [UInt32]) async throws(ClientError) -> Choice {
    let reply = try await ask(.release(job, keep: keep), patience: options.patience)
    guard case .released(let choice) = reply else { throw unexpected(reply, to: "a release") }
    return choice
  }

  /// Tries samples again that failed for good.
  ///
  /// - Parameter samples: Counted from 0; none: all that failed.
  /// - Returns: How many are tried again. Asked twice it may answer 0, for they are at it.
  public func retry(_ job: JobID, samples: [UInt32] = []) async throws(ClientError) -> UInt32 {
    let reply = try await ask(.retry(job, samples: samples), patience: options.patience)
    guard case .retried(let count) = reply else { throw unexpected(reply, to: "a retry") }
    return count
  }

  /// The newest jobs with samples that failed for good; these are their `details`.
  public func deadJobs(limit: UInt32 = 100) async throws(ClientError) -> [JobStatus] {
    let reply = try await ask(.dead(limit: limit), patience: options.patience)
    guard case .jobs(let jobs) = reply else { throw unexpected(reply, to: "a status") }
    return jobs
  }

  /// Who worked on a job, and when: by sample, stage and attempt. A long history comes in parts.
  ///
  /// - Parameter sample: Begin with this one.
  public func history(of job: JobID, from sample: UInt32 = 0) async throws(ClientError) -> [Attempt] {
    let reply = try await ask(.history(job, sample: sample), patience: options.patience)
    guard case .history(let attempts) = reply else { throw unexpected(reply, to: "a history request") }
    return attempts
  }

  /// The workers that the broker knows.
  public func workers() async throws(ClientError) -> [WorkerStatus] {
    let reply = try await ask(.workers, patience: options.patience)
    guard case .workers(let workers) = reply else { throw unexpected(reply, to: "a workers request") }
    return workers
  }

  /// Ends every request and watch with ``ClientError/Code/closed`` and hangs up. A client that is let go does this by itself.
  public func close() {
    isClosed = true
    hangUp()
    for id in outstanding.keys { end(id, .failure(Self.closedError)) }
  }

  /// A key no other submission has.
  public static func randomKey() -> String {
    let digits = String(UInt64.random(in: 1...UInt64.max), radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
  }

  // MARK: The life of a request

  /// A request that was made and not answered. A watch is one that is answered many times.
  private struct Outstanding {
    var frames: [Frame]
    let started: ContinuousClock.Instant
    let patience: Duration
    var deadline: ContinuousClock.Instant
    /// When something has to be done about it.
    var due: ContinuousClock.Instant
    /// `nil`: the socket has not taken it yet.
    var sent: ContinuousClock.Instant?
    var tries = 0
    var lastStatus: JobStatus?
    let events: AsyncThrowingStream<JobStatus, any Error>.Continuation?
    let answer: CheckedContinuation<Result<ClientReply, ClientError>, Never>
  }

  private static let closedError = ClientError(.closed, "the client was closed")
  /// How soon a request is offered again to a socket whose queue was full.
  private static let retryQueue = Duration.milliseconds(20)
  /// How soon one is dialled again who does not speak ZeroMQ's protocol.
  private static let retryStranger = Duration.seconds(1)

  private func ask(
    _ request: ClientRequest, patience: Duration, events: AsyncThrowingStream<JobStatus, any Error>.Continuation? = nil
  ) async throws(ClientError) -> ClientReply {
    guard !isClosed else { throw Self.closedError }
    let id = lastID.add(1, ordering: .relaxed).newValue
    let frames = try encode(request, id)
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { answer in
        let now = ContinuousClock.now
        outstanding[id] = Outstanding(
          frames: frames, started: now, patience: patience, deadline: now + patience, due: now, events: events, answer: answer)
        attend()
      }
    } onCancel: {
      Task { await self.end(id, .failure(ClientError(.cancelled, "the request was cancelled"))) }
    }
    let reply = try result.get()
    if case .refused(let refusal) = reply { throw ClientError(refusal) }
    return reply
  }

  private func encode(_ request: ClientRequest, _ id: UInt64) throws(ClientError) -> [Frame] {
    do throws(WireError) {
      return try WireCodec.encode(request, request: id)
    } catch {
      throw ClientError(.invalidRequest, error.reason)
    }
  }

  private func end(_ id: UInt64, _ result: Result<ClientReply, ClientError>) {
    guard let ended = outstanding.removeValue(forKey: id) else { return }
    ended.answer.resume(returning: result)
    if outstanding.isEmpty { disarm() }
  }

  /// Does what is due: gives up on requests, sends them (again), dials a new socket when the old one has gone quiet; then sets the timer.
  private func attend() {
    let now = ContinuousClock.now
    for (id, request) in outstanding where request.deadline <= now { end(id, .failure(noAnswer(to: request, at: now))) }
    let due = outstanding.filter { $0.value.due <= now }
    let isQuiet = due.values.contains { request in request.sent.map { sent in lastHeard.map { $0 < sent } ?? true } ?? false }
    do throws(ZeroMQError) {
      if line.socket == nil || isQuiet {
        if isQuiet { logger.debug("no answer, dialling again", metadata: ["broker": "\(broker)"]) }
        try dial()
        for id in outstanding.keys.sorted() { try send(id, at: now) }
      } else {
        for id in due.keys.sorted() { try send(id, at: now) }
      }
    } catch {
      let failure =
        error.code == .invalidEndpoint
        ? ClientError(.invalidEndpoint, "'\(broker)' is no address that can be dialled: write tcp://HOST:PORT")
        : ClientError(.unreachable, "could not dial \(broker): \(error)")
      hangUp()
      for id in outstanding.keys { end(id, .failure(failure)) }
    }
    arm()
  }

  private func send(_ id: UInt64, at now: ContinuousClock.Instant) throws(ZeroMQError) {
    guard let socket = line.socket, var request = outstanding[id] else { return }
    do throws(ZeroMQError) {
      try socket.send(request.frames)
      request.sent = now
      request.due = now + options.resendAfter * (1 << min(request.tries, 3))
      request.tries += 1
    } catch {
      guard error.code == .wouldBlock else { throw error }
      request.sent = nil
      request.due = now + Self.retryQueue
    }
    outstanding[id] = request
  }

  private func noAnswer(to request: Outstanding, at now: ContinuousClock.Instant) -> ClientError {
    if let lastGarbage, lastGarbage.at >= request.started {
      return ClientError(.protocolViolation, "what answers at \(broker) does not speak Weir's protocol: \(lastGarbage.what)")
    }
    let waited = request.patience.text
    if let lastBreak, lastBreak.at >= request.started, lastHeard.map({ $0 < request.started }) ?? true {
      return ClientError(.unreachable, "no answer from \(broker) for \(waited): \(lastBreak.what)")
    }
    return ClientError(
      .unreachable, "no answer from \(broker) for \(waited): is a broker running there? ('weir up' starts a fleet on this machine)")
  }

  private func unexpected(_ reply: ClientReply, to request: String) -> ClientError {
    ClientError(.protocolViolation, "\(broker) answered \(request) with something else: \(String(describing: reply).prefix(200))")
  }

  // MARK: The socket

  private func dial() throws(ZeroMQError) {
    hangUp()
    var options = SocketOptions()
    // Requests wait in the socket until the broker is there; `lastHeard` finds out if it never is.
    options.immediate = false
    options.sendHighWaterMark = 64
    options.curve = keys?.identity.curve
    let socket = try Socket(runtime.context, .dealer, options)
    // The failures of a socket may come in one go, and it is hung up at the first.
    dials += 1
    try runtime.loop.onHandshakeFailure(of: socket) { [weak self, dials] failure in
      self?.assumeIsolated { if $0.line.socket != nil, $0.dials == dials { $0.noteHandshake(failure) } }
    }
    try socket.connect(broker)
    runtime.loop.add(socket) { [weak self] in self?.assumeIsolated { $0.drain() } }
    line.socket = socket
  }

  private func hangUp() { line.hangUp(on: runtime.loop) }

  private func noteHandshake(_ failure: HandshakeFailure) {
    let now = ContinuousClock.now
    let what = failure.explanation(broker: broker, keys?.identity, line: "client KEY tenant=NAME")
    logger.debug("the handshake failed", metadata: ["broker": "\(broker)", "error": "\(what)"])
    switch failure {
    case .keyRefused, .mechanismMismatch:
      hangUp()
      for id in outstanding.keys { end(id, .failure(ClientError(.denied, what))) }
    case .brokenOff: lastBreak = (now, what)
    case .wrongServerKey, .violation:
      // This socket will not dial again.
      lastGarbage = (now, what)
      hangUp()
      for id in outstanding.keys {
        outstanding[id]?.sent = nil
        outstanding[id]?.due = now + Self.retryStranger
      }
      arm()
    }
  }

  private func drain() {
    while let socket = line.socket {
      do throws(ZeroMQError) {
        guard let frames = try socket.receive() else { return }
        hear(frames)
      } catch {
        ignore("\(error)")
        return
      }
    }
  }

  private func hear(_ frames: [Frame]) {
    let now = ContinuousClock.now
    do throws(WireError) {
      let (id, reply) = try WireCodec.decodeClientReply(frames)
      lastHeard = now
      guard let request = outstanding[id] else { return }
      if let events = request.events {
        hear(reply, about: id, now, events)
      } else {
        end(id, .success(reply))
      }
    } catch {
      ignore("\(error)")
      guard let id = error.request else { return }
      end(id, .failure(ClientError(.protocolViolation, "\(broker) sent an answer that makes no sense: \(error)")))
    }
  }

  /// An answer to a watch.
  private func hear(
    _ reply: ClientReply, about id: UInt64, _ now: ContinuousClock.Instant, _ events: AsyncThrowingStream<JobStatus, any Error>.Continuation
  ) {
    let status: JobStatus
    switch reply {
    case .event(let event): status = event
    case .jobs(let jobs) where jobs.count == 1: status = jobs[0]
    case .refused(let refusal):
      guard let retryAfter = refusal.retryAfterMilliseconds else { return end(id, .success(reply)) }
      outstanding[id]?.sent = nil
      outstanding[id]?.due = now + .milliseconds(retryAfter)
      return arm()
    default: return end(id, .failure(unexpected(reply, to: "a watch")))
    }
    if outstanding[id]?.lastStatus != status {
      outstanding[id]?.lastStatus = status
      events.yield(status)
    }
    if status.state.isFinal { return end(id, .success(reply)) }
    outstanding[id]?.tries = 0
    outstanding[id]?.due = now + options.watchSilence
    outstanding[id]?.deadline = now + options.waitPatience
    arm()
  }

  private func ignore(_ what: String) {
    logger.warning("an answer that makes no sense", metadata: ["broker": "\(broker)", "error": "\(what)"])
    lastGarbage = (.now, what)
  }

  // MARK: The timer

  private func arm() {
    disarm()
    guard let next = outstanding.values.lazy.map({ min($0.due, $0.deadline) }).min() else { return }
    line.timer = runtime.loop.schedule(after: max(.zero, next - .now)) { [weak self] in
      self?.assumeIsolated {
        $0.line.timer = nil
        $0.attend()
      }
    }
  }

  private func disarm() { line.disarm(on: runtime.loop) }
}
