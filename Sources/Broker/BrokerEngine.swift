import Glibc
import Logging
import Wire
import ZeroMQ

/// Feeds the core from the sockets and does what it says, on one thread.
///
/// What arrives while the journal's thread commits one turn is the next: its records are committed together, then its messages leave.
final class BrokerEngine {
  /// What one turn reads at most, so that an acknowledgement never waits for long.
  private static let maxMessagesPerTurn = 1_024
  private static let maxBytesPerTurn = 32 << 20
  /// With more than this gathered, the sockets wait for the disk.
  private static let maxGathered = 16 * maxMessagesPerTurn
  private static let maxGatheredBytes = 2 * maxBytesPerTurn
  private static let maxAttemptsPerReply = 1_000
  /// Images go on being sent to a client while less than this is on its way to it, …
  private static let maxImageBytesPerClient = 4 << 20
  /// … or nothing, while more than this is on its way to all of them.
  private static let maxImageBytes = 64 << 20
  /// Of other replies, so much may wait for a client that ZeroMQ's queue has no room for.
  private static let maxReplyBytesPerClient = 8 << 20
  private static let maxCommandBytesPerWorker = 64 << 20
  private static let retryInterval = Duration.milliseconds(2)
  private static let tidyingInterval = Duration.milliseconds(10)
  private static let stalledRetryInterval = Duration.milliseconds(500)
  private static let stalledRetryMilliseconds: UInt32 = 1_000
  private static let maxStalledBytes = 64 << 20
  private static let releaseInterval = Duration.seconds(10)
  /// How often the access list is looked at.
  private static let accessInterval = Duration.seconds(1)

  let endpoints: BrokerService.Endpoints
  var counters: BrokerService.Counters {
    var counters = counts
    counters.bytesToClients = clients.totalBytes
    return counters
  }
  private var counts = BrokerService.Counters()
  private let loop: SocketLoop
  private let context: Context
  private let clientSocket: Socket
  private let workerSocket: Socket
  private let clients: Outbox
  private let workers: Outbox
  private let journal: Journal
  private let journalThread: JournalThread
  /// `nil`: it works without keys.
  private let door: Doorkeeper?
  private let logger: Logger
  private let reportFailure: (JournalError) -> Void
  private let start = ContinuousClock.now
  private var core: BrokerCore
  private var cache: TensorCache
  private var drafts: DraftMemory
  private var images = ImageQueues()
  /// What the core is told at the end of the turn.
  private var arrivals: [Arrival] = []
  private var records: [Record] = []
  private var messages: [Action] = []
  /// Bytes that arrived since the last commit began.
  private var gatheredBytes = 0
  /// Messages of the turn that is being committed.
  private var sending: [Action] = []
  private var wake: SocketLoop.TimerID?
  private var isRetrying = false
  private var isTidyingDue = false
  private var isTidyingScheduled = false
  /// The journal can't be written for now; since when.
  private var isStalled = false
  private var stalledSince: ContinuousClock.Instant?
  /// What workers sent since.
  private var stalledBytes = 0
  /// Workers are not listened to.
  private var isDeaf = false
  /// The time of the turn; `nil` until something asks for it.
  private var turnTime: Instant?
  private var isStopped = false

  init(
    _ configuration: BrokerConfiguration, on loop: SocketLoop, logger: Logger, reportFailure: @escaping (JournalError) -> Void
  ) throws {
    let clientAddress = configuration.clients
    let workerAddress = try configuration.workers ?? clientAddress.next
    let isOpen = configuration.keys == nil && !configuration.isInsecureAllowed
    for address in [clientAddress, workerAddress] where isOpen && !address.isLoopback {
      throw BrokerError(
        .insecure,
        """
        \(address) can be reached from other machines, and anyone there could submit jobs and read images. Say who may: make a key for the \
        broker and one for each client and worker ('weir keygen NAME'), list theirs in a file with lines like 'client KEY tenant=NAME' and \
        'worker KEY stages=NAME,…', and pass --key-file broker.key_secret --allow FILE. Or bind a loopback address, or pass --insecure on a \
        network that you trust
        """)
    }
    self.loop = loop
    self.logger = logger
    self.reportFailure = reportFailure
    let context = try Context(maxSockets: 1_023)
    self.context = context
    // Before the journal, for it finds mistakes in what somebody wrote; and before the sockets bind, or they would let everyone in.
    door = try configuration.keys.map { try Doorkeeper($0, context, on: loop, logger) }
    journal = try Journal(directory: configuration.dataDirectory)
    for finding in journal.findings { logger.error("\(configuration.dataDirectory): \(finding)") }
    core = BrokerCore(
      limits: configuration.limits, access: door?.list, restoring: try journal.restore(),
      at: Instant(milliseconds: 0, unixMilliseconds: unixMilliseconds()))
    cache = TensorCache(limit: configuration.cacheBytes)
    drafts = DraftMemory(limit: configuration.draftBytes)

    var options = SocketOptions()
    // A ping of its own can end the program: see `heartbeatInterval`. Peers ping, workers beat, and TCP probes.
    options.heartbeatInterval = .zero
    options.maxFrames = 1 + WireLimits.frames
    options.linger = .milliseconds(500)
    options.sendHighWaterMark = 64
    options.receiveHighWaterMark = 128
    options.maxFrameBytes = Int64(WireLimits.envelopeBytes)
    options.curve = door?.curve(.clients)
    clientSocket = try Self.bind(clientAddress, context, options, door)
    options.receiveHighWaterMark = 64
    // What one turn may answer at most, or a burst would wait for the turns after it. Credit bounds the bytes.
    options.sendHighWaterMark = Int32(Self.maxMessagesPerTurn)
    options.maxFrameBytes = Int64(WireLimits.tensorBytes)
    options.curve = door?.curve(.workers)
    workerSocket = try Self.bind(workerAddress, context, options, door)
    clients = Outbox(clientSocket, maxBytesPerPeer: Self.maxReplyBytesPerClient)
    workers = Outbox(workerSocket, maxBytesPerPeer: Self.maxCommandBytesPerWorker)
    endpoints = BrokerService.Endpoints(clients: try clientSocket.lastEndpoint, workers: try workerSocket.lastEndpoint)
    // Last of all that may fail, for whoever tries again wants the journal free.
    journalThread = JournalThread(journal) { [loop] in loop.wake() }
    let port = try BindAddress(endpoints.workers).port
    core.listening(onWorkerPort: UInt32(port))

    let summary = core.summary
    logger.info("\(summary.jobs) jobs restored, \(summary.openTasks) tasks open; data in \(configuration.dataDirectory)")
    loop.add(clientSocket) { [unowned self] in readClients() }
    loop.add(workerSocket) { [unowned self] in readWorkers() }
    loop.onTurnEnd { [weak self] in self?.endTurn() }
    // A flood is no reason to keep so much for ever.
    loop.releaseFreedMemory(every: Self.releaseInterval)
    handle(.tick)
    scheduleAccess()
  }

  private static func bind(_ address: BindAddress, _ context: Context, _ options: SocketOptions, _ door: Doorkeeper?) throws -> Socket {
    var options = options
    options.ipv6 = address.isIPv6
    let socket = try Socket(context, .router, options)
    try door?.observe(socket, at: address)
    do throws(ZeroMQError) {
      try socket.bind(address.description)
    } catch {
      throw BrokerError(.cannotBind, error.description)
    }
    return socket
  }

  func stop() {
    endTurn(waits: true)
    records += drafts.records
    endTurn(waits: true)
    isStopped = true
    if let wake { loop.cancel(wake) }
    for socket in [clientSocket, workerSocket] {
      loop.remove(socket)
      socket.close()
    }
    door?.close()
    context.terminate()
    do throws(JournalError) { try journal.close() } catch { logger.error("\(error)") }
  }

  // MARK: Arrivals

  private func readClients() {
    read(clientSocket) { peer, frames in
      do throws(WireError) {
        let (request, message) = try WireCodec.decodeClientRequest(frames)
        var fresh = JobID(rawValue: 0)
        if case .submit = message { fresh = JobID(rawValue: .random(in: 1...UInt64.max)) }
        let sender = sender(on: clientSocket)
        // What came first waits for the disk, and may have been taken in.
        if isStalled, !message.changesNothing, !core.isRepeated(message, from: sender) {
          let refusal = Refusal(
            .overloaded, "the broker cannot write to its disk, so it takes no requests that it would have to remember",
            retryAfterMilliseconds: Self.stalledRetryMilliseconds)
          return send(.refused(refusal), request, to: peer, .now)
        }
        arrivals.append(Arrival(.client(peer, request: request, message, fresh: fresh), from: sender))
      } catch {
        noteGarbage("client", peer, error.reason)
        let code: Refusal.Code = error.code == .unsupportedVersion ? .unsupportedVersion : .invalid
        messages.append(.reply(peer, request: error.request ?? 0, .refused(Refusal(code, error.reason))))
      }
    }
  }

  private func readWorkers() {
    read(workerSocket) { peer, frames in
      if isStalled { stalledBytes += frames.reduce(0) { $0 + $1.count } }
      do throws(WireError) {
        arrivals.append(Arrival(.worker(peer, try WireCodec.decodeWorkerMessage(frames)), from: sender(on: workerSocket)))
      } catch {
        noteGarbage("worker", peer, error.reason)
        handle(.workerGone(peer, reason: "it sent a message that cannot be read: \(clip(error.reason, 200))"))
        messages.append(.command(peer, .disconnect(reason: error.reason)))
      }
    }
  }

  private func read(_ socket: Socket, _ body: (PeerID, [Frame]) -> Void) {
    var bytes = 0
    for _ in 0..<Self.maxMessagesPerTurn where bytes < Self.maxBytesPerTurn {
      do throws(ZeroMQError) {
        guard var frames = try socket.receive() else { break }
        guard !frames.isEmpty else { continue }
        let size = frames.reduce(0) { $0 + $1.count }
        bytes += size
        gatheredBytes += size
        body(PeerID(frames.removeFirst()), frames)
      } catch {
        guard error.code == .tooManyFrames else {
          logger.error("\(error)")
          break
        }
        noteGarbage("peer", PeerID([]), "it sent a message of too many frames")
      }
    }
    handleArrivals()
  }

  /// Of the message that was received last.
  private func sender(on socket: Socket) -> Sender {
    door == nil ? Sender() : Sender(key: socket.lastSender, address: socket.lastAddress)
  }

  /// Logs the first, the second, the fourth, … so that a broken peer cannot fill the log.
  private func noteGarbage(_ kind: String, _ peer: PeerID, _ reason: String) {
    counts.garbage += 1
    if counts.garbage.nonzeroBitCount == 1 {
      logger.warning("unreadable message from \(kind) \(peer) (\(counts.garbage) so far): \(clip(reason, 200))")
    }
  }

  // MARK: Turns

  /// All that arrives in a turn arrives at one time.
  private var now: Instant {
    if let turnTime { return turnTime }
    let (seconds, attoseconds) = start.duration(to: .now).components
    let time = Instant(milliseconds: seconds * 1_000 + attoseconds / 1_000_000_000_000_000, unixMilliseconds: unixMilliseconds())
    turnTime = time
    return time
  }

  private func tick() {
    // Nobody who is not listened to is silent.
    if isDeaf { wake = loop.schedule(after: Self.stalledRetryInterval) { [weak self] in self?.tick() } } else { handle(.tick) }
  }

  private func handle(_ event: Event) {
    arrivals.append(Arrival(event))
    handleArrivals()
  }

  private func handleArrivals() {
    if arrivals.isEmpty { return }
    let actions = core.handle(arrivals, at: now)
    arrivals.removeAll(keepingCapacity: true)
    for action in actions {
      switch action {
      case .persist(let record):
        let record = drafts.take(record)
        records.append(record)
        if case .stageDone(let task, _, let output) = record {
          cache.insert(output, for: TensorKey(job: task.job, sample: task.sample, stage: task.stage))
        }
      case .wake(let milliseconds):
        if let wake { loop.cancel(wake) }
        wake = loop.schedule(at: start + .milliseconds(milliseconds)) { [weak self] in self?.tick() }
      case .log(let level, let message): logger.log(level: level, "\(message)")
      case _ where isStalled && action.promisesNothing: perform(action, .now)
      case .reply, .image, .history, .command, .assign: messages.append(action)
      }
    }
  }

  /// Sends what waited for the disk, and has the disk take what was gathered since. What cannot be sent is an event too, so this goes on
  /// until the disk is at work or nothing is left.
  ///
  /// - Parameter waits: until nothing is left, or can be written.
  private func endTurn(waits: Bool = false) {
    defer { turnTime = nil }
    if isStalled { return boundStalledBytes() }
    while !isStopped, !isStalled {
      if journalThread.isBusy {
        guard let outcome = journalThread.outcome(waits: waits || hasGatheredMuch) else { break }
        take(outcome)
        continue
      }
      let now = ContinuousClock.now
      for message in sending { perform(message, now) }
      sending.removeAll(keepingCapacity: true)
      sendWaitingImages(now)
      swap(&messages, &sending)
      if !records.isEmpty {
        let count = records.count
        journalThread.begin(.commit(records))
        records = []
        // The next turn is much like this one.
        records.reserveCapacity(count)
        gatheredBytes = 0
      } else if sending.isEmpty {
        guard isTidyingDue, !waits else { break }
        isTidyingDue = false
        journalThread.begin(.tidy)
      }
    }
    scheduleRetry()
    scheduleTidying()
  }

  private var hasGatheredMuch: Bool {
    records.count + messages.count > Self.maxGathered || gatheredBytes > Self.maxGatheredBytes
  }

  private func take(_ outcome: JournalThread.Outcome) {
    switch outcome {
    case .committed, .tidied: break
    case .untidied(let error): if error.code != .stalled { logger.error("\(error)") }
    case .uncommitted(let unwritten, let error) where error.code == .stalled:
      records = unwritten + records
      messages = sending + messages
      sending = []
      stall(error)
    case .uncommitted(_, let error):
      // The core is ahead of the disk now. Nothing may be acknowledged any more; the truth is what a restart finds.
      logger.critical("\(error)")
      isStopped = true
      reportFailure(error)
    }
  }

  // MARK: Stalls

  /// Nothing can be written for now: records and messages wait, and clients are refused what would have to be remembered. Workers go on.
  private func stall(_ error: JournalError) {
    if stalledSince == nil {
      stalledSince = .now
      logger.critical("\(error); new jobs are refused until it can be written again")
    }
    isStalled = true
    let waiting = messages
    messages = waiting.filter { !$0.promisesNothing }
    for message in waiting where message.promisesNothing { perform(message, .now) }
    loop.schedule(after: Self.stalledRetryInterval) { [weak self] in self?.resume() }
  }

  private func resume() {
    guard !isStopped else { return }
    isStalled = false
    endTurn(waits: true)
    guard !isStalled, let since = stalledSince else { return }
    stalledSince = nil
    stalledBytes = 0
    logger.notice("the journal can be written again, after \(ContinuousClock.now - since)")
    if isDeaf { loop.add(workerSocket) { [unowned self] in readWorkers() } }
    isDeaf = false
  }

  /// What workers send meanwhile is kept, but not without end: then it stays in their sockets.
  private func boundStalledBytes() {
    guard !isDeaf, stalledBytes > Self.maxStalledBytes else { return }
    isDeaf = true
    loop.remove(workerSocket)
  }

  // MARK: Access

  /// Looks at the access list, whether it changed or not.
  func reload() {
    guard let door else { return logger.notice("there is no access list to read again") }
    if let list = door.reload(always: true) { goBy(list) }
  }

  private func scheduleAccess() {
    guard let door else { return }
    loop.schedule(after: Self.accessInterval) { [weak self] in
      guard let self, !isStopped else { return }
      if let list = door.reload() { goBy(list) }
      scheduleAccess()
    }
  }

  private func goBy(_ list: AccessList) {
    handle(.accessList(list))
    images.removeAll { !core.maySend($0) }
  }

  // MARK: Housekeeping

  /// What was forgotten goes bit by bit, between the turns.
  private func scheduleTidying() {
    guard !isStopped, !isTidyingScheduled, !isTidyingDue, !journalThread.isBusy, journal.isUntidy else { return }
    isTidyingScheduled = true
    loop.schedule(after: Self.tidyingInterval) { [weak self] in
      self?.isTidyingScheduled = false
      self?.isTidyingDue = true
    }
  }

  private func scheduleRetry() {
    guard !isStopped, !isRetrying, !clients.isEmpty || !workers.isEmpty || !images.isEmpty else { return }
    isRetrying = true
    loop.schedule(after: Self.retryInterval) { [weak self] in self?.retry() }
  }

  private func retry() {
    isRetrying = false
    guard !isStopped else { return }
    let now = ContinuousClock.now
    for peer in clients.retry(at: now) {
      images.remove(peer)
      handle(.clientGone(peer))
    }
    for peer in workers.retry(at: now) { handle(.workerGone(peer, reason: "it cannot be reached")) }
  }

  private func sendWaitingImages(_ now: ContinuousClock.Instant) {
    for peer in images.peers {
      while hasRoomForImage(peer), let entry = images.takeFirst(for: peer) {
        send(reply(to: entry.order), entry.request, to: peer, now)
      }
    }
  }

  // MARK: Messages

  private func perform(_ action: Action, _ now: ContinuousClock.Instant) {
    switch action {
    case .reply(let peer, let request, let reply): send(reply, request, to: peer, now)
    case .image(let peer, let request, let order): send(order, request, to: peer, now)
    case .history(let peer, let request, let job, let sample, let running):
      send(history(job, from: sample, running), request, to: peer, now)
    case .command(let peer, let command): send(command, to: peer, now)
    case .assign(let peer, let order): assign(order, to: peer, now)
    case .persist, .wake, .log: break
    }
  }

  private func send(_ reply: ClientReply, _ request: UInt64, to peer: PeerID, _ now: ContinuousClock.Instant) {
    do throws(WireError) {
      // Who reads slowly learns less often how a job goes.
      let key: UInt64? = if case .event = reply { request } else { nil }
      switch clients.send(try WireCodec.encode(reply, request: request), to: peer, replacing: key, at: now) {
      case .accepted: break
      case .gone:
        images.remove(peer)
        handle(.clientGone(peer))
      case .full:
        counts.droppedReplies += 1
        if counts.droppedReplies.nonzeroBitCount == 1 {
          logger.warning("client \(peer) does not read its replies: \(counts.droppedReplies) dropped so far")
        }
      }
    } catch {
      logger.error("a reply to client \(peer) cannot be written: \(error)")
    }
  }

  private func send(_ order: ImageOrder, _ request: UInt64, to peer: PeerID, _ now: ContinuousClock.Instant) {
    guard images.isWaiting(peer) || !hasRoomForImage(peer) else { return send(reply(to: order), request, to: peer, now) }
    if !images.add(ImageQueues.Entry(request: request, order: order), for: peer) {
      let refusal = Refusal(
        .overloaded, "\(images.count) images wait for their clients to read those before them: ask for fewer at a time",
        retryAfterMilliseconds: 1_000)
      send(.refused(refusal), request, to: peer, now)
    }
  }

  private func hasRoomForImage(_ peer: PeerID) -> Bool {
    let bytes = clients.bytes(to: peer)
    return bytes == 0 || bytes < Self.maxImageBytesPerClient && clients.totalBytes < Self.maxImageBytes
  }

  private func reply(to order: ImageOrder) -> ClientReply {
    do throws(JournalError) {
      let tensor = try output(order.key)
      return .image(
        FinishedImage(
          job: order.key.job, sample: order.key.sample, label: order.label, seed: order.seed, digest: order.digest.bytes,
          numerics: order.numerics, stage: order.stage, tensor: tensor))
    } catch {
      // It was there when it was asked for; what came in the same turn, or while its reader was slow, has gone on.
      if error.code == .notKept {
        return .refused(
          Refusal(
            .notFound, "the output of stage \(order.stage) of sample \(order.key.sample) of job \(order.key.job) is not kept any more"))
      }
      logger.error("sample \(order.key.sample) of job \(order.key.job) cannot be read: \(error)")
      return .refused(Refusal(.notFound, "sample \(order.key.sample) of job \(order.key.job) is lost: the broker's disk is damaged"))
    }
  }

  private func history(_ job: JobID, from sample: UInt32, _ running: [Attempt]) -> ClientReply {
    do throws(JournalError) {
      let over = try journal.attempts(job, from: sample, limit: Self.maxAttemptsPerReply)
      // One that went on when this was asked for may have ended since.
      let ended = Set(over.map { [$0.sample, $0.stage, $0.number] })
      let all = (over + running.filter { !ended.contains([$0.sample, $0.stage, $0.number]) })
        .sorted { ($0.sample, $0.stage, $0.number) < ($1.sample, $1.stage, $1.number) }
      return .history(core.withDigests(Array(all.prefix(Self.maxAttemptsPerReply)), of: job))
    } catch {
      logger.error("the history of job \(job) cannot be read: \(error)")
      return .refused(Refusal(.notFound, "the history of job \(job) is lost: the broker's disk is damaged"))
    }
  }

  private func send(_ command: WorkerCommand, to peer: PeerID, _ now: ContinuousClock.Instant) {
    do throws(WireError) {
      switch workers.send(try WireCodec.encode(command), to: peer, at: now) {
      case .accepted: break
      case .gone: handle(.workerGone(peer, reason: "it cannot be reached"))
      case .full:
        workers.forget(peer)
        handle(.workerGone(peer, reason: "it does not read what it is sent"))
      }
    } catch {
      logger.error("a command to worker \(peer) cannot be written: \(error)")
    }
  }

  private func assign(_ order: AssignOrder, to peer: PeerID, _ now: ContinuousClock.Instant) {
    var assignment = Assignment(
      task: order.task, label: order.label, seed: order.seed, options: order.options, truncated: order.truncated)
    do throws(JournalError) {
      if let input = order.input { assignment.lowRes = try output(input) }
    } catch {
      return handle(.tensorsLost(order.task, error.code == .notKept ? .draft : .input))
    }
    do throws(JournalError) {
      if let step = order.checkpointStep {
        assignment.checkpoint = TaskCheckpoint(step: step, tensors: try journal.checkpoint(of: order.task.task))
      }
    } catch {
      return handle(.tensorsLost(order.task, .checkpoint))
    }
    send(.assign(assignment), to: peer, now)
  }

  private func output(_ key: TensorKey) throws(JournalError) -> WireTensor {
    if let tensor = drafts[key] ?? cache[key] { return tensor }
    return try journal.output(key)
  }
}

private func unixMilliseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return UInt64(clamping: Int(time.tv_sec) * 1_000 + time.tv_nsec / 1_000_000)
}
