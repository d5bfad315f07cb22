package import Logging
import ServiceLifecycle
import Wire
package import ZeroMQ

/// A worker of one stage: the core, joined to sockets on a loop of its own and to the compute thread, which it may share with other stages.
///
/// The loop's thread only moves messages and beats, so a long step never makes the broker think the worker dead.
package actor WorkerService: Service {
  package struct Settings: Sendable {
    package var broker: BrokerEndpoint
    /// Logical name, for people.
    package var name: String
    package var host: String
    package var pid: UInt32
    /// Tasks of a stage stepped together; `nil`: as many as its engine asks for.
    package var slots: Int?
    package var batching: Batching
    /// Tasks of a stage held beside those at most, to begin when one of them ends without asking the broker first. How many it is depends on how
    /// long they take.
    package var prefetch: Int
    /// Give up after this long without a broker; `nil`: never.
    package var connectTimeout: Duration?
    /// For a broker with keys.
    package var identity: CurveIdentity?

    package init(
      broker: BrokerEndpoint, name: String, host: String, pid: UInt32, slots: Int?, batching: Batching = .step, prefetch: Int = 16,
      connectTimeout: Duration? = nil, identity: CurveIdentity? = nil
    ) {
      self.broker = broker
      self.name = name
      self.host = host
      self.pid = pid
      self.slots = slots
      self.batching = batching
      self.prefetch = prefetch
      self.connectTimeout = connectTimeout
      self.identity = identity
    }
  }

  /// What a socket is connected to.
  private enum End { case publicEndpoint, workerPort }

  /// Room for a task's input, checkpoint and output of the largest stage anybody runs, in bytes.
  private static let bytesPerTask: UInt64 = 16 << 20

  private nonisolated let loop: SocketLoop
  package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  private let settings: Settings
  private let stage: String
  private let compute: ComputeLoop
  /// The stage's index on it.
  private let seat: Int
  private let events: AsyncStream<WorkerCore.Event>
  private nonisolated let eventSink: AsyncStream<WorkerCore.Event>.Continuation
  private let logger: Logger
  private let onReady: @Sendable () -> Void
  private let context: Context
  private let clock = ContinuousClock()
  private let started = ContinuousClock.now

  private var core: WorkerCore
  private var socket: Socket?
  /// How often it has dialled.
  private var dials = 0
  private var end = End.publicEndpoint
  private var outbox = Outbox()
  private var timer: SocketLoop.TimerID?
  private var departure: Result<WorkerCore.Departure, any Error>?

  /// - Parameters:
  ///   - makeEngine: runs on the compute thread; what it throws is thrown here.
  ///   - onReady: called once, when the broker first welcomes this worker.
  package static func make(
    settings: Settings, logger: Logger, makeEngine: @escaping ComputeLoop.EngineMaker, onReady: @escaping @Sendable (EngineInfo) -> Void
  ) async throws -> WorkerService {
    try await make(settings: settings, logger: logger, makeEngines: [makeEngine], onReady: onReady)[0]
  }

  /// Workers of several stages that share a compute thread: it works where most is to be done.
  ///
  /// - Parameters:
  ///   - makeEngines: one for each stage.
  ///   - onReady: called once for each.
  package static func make(
    settings: Settings, logger: Logger, makeEngines: [ComputeLoop.EngineMaker], onReady: @escaping @Sendable (EngineInfo) -> Void
  ) async throws -> [WorkerService] {
    let streams = makeEngines.map { _ in AsyncStream.makeStream(of: WorkerCore.Event.self) }
    let sinks = streams.map(\.continuation)
    let compute = ComputeLoop()
    let infos = try await compute.start(slots: settings.slots, batching: settings.batching, makeEngines: makeEngines) {
      sinks[$0].yield(.compute($1))
    }
    return try infos.enumerated().map { seat, info in
      var logger = logger
      if infos.count > 1 { logger[metadataKey: "stage"] = "\(info.stageName)" }
      return WorkerService(
        settings: settings, info: info, compute: compute, seat: seat, events: streams[seat].stream, sink: sinks[seat],
        loop: try SocketLoop(name: "weir-io"), context: try Context(), logger: logger, onReady: { onReady(info) })
    }
  }

  private init(
    settings: Settings, info: EngineInfo, compute: ComputeLoop, seat: Int, events: AsyncStream<WorkerCore.Event>,
    sink: AsyncStream<WorkerCore.Event>.Continuation, loop: SocketLoop, context: Context, logger: Logger,
    onReady: @escaping @Sendable () -> Void
  ) {
    self.settings = settings
    stage = info.stageName
    self.compute = compute
    self.seat = seat
    self.events = events
    eventSink = sink
    self.loop = loop
    self.context = context
    self.logger = logger
    self.onReady = onReady
    let slots = settings.slots ?? info.slots
    let hello = WorkerHello(
      name: settings.name, boot: .random(in: .min ... .max), pipeline: info.pipeline, stage: info.stageName, numerics: info.numerics,
      slots: UInt32(clamping: slots), prefetch: UInt32(clamping: settings.prefetch),
      bytes: UInt64(slots + settings.prefetch) * Self.bytesPerTask, host: settings.host, pid: settings.pid)
    core = WorkerCore(
      configuration: .init(
        hello: hello, broker: settings.broker.description, connectTimeout: settings.connectTimeout,
        jitterSeed: .random(in: .min ... .max)))
  }

  /// Works until it is drained, by a graceful shutdown or by the broker, or gives up on finding one.
  package func run() async throws {
    let departure = await withGracefulShutdownHandler {
      await work()
    } onGracefulShutdown: {
      self.eventSink.yield(.drain)
    }
    if compute.leave() { await compute.join() }
    // The loop cannot wait for its own end.
    await Self.release(loop, context)
    switch try departure.get() {
    case .drained: return
    case .gaveUp(let reason): throw WorkerError(.brokerUnreachable, reason)
    }
  }

  private func work() async -> Result<WorkerCore.Departure, any Error> {
    handle(.start)
    if let departure { return departure }
    for await event in events {
      handle(event)
      if let departure { return departure }
    }
    // The stream ends when `finish` ended it, or with the task's cancellation.
    return departure ?? .success(.drained)
  }

  @concurrent
  private static func release(_ loop: SocketLoop, _ context: Context) async {
    loop.stop()
    context.terminate()
  }

  private func handle(_ event: WorkerCore.Event) {
    for action in core.handle(event, at: clock.now - started) { perform(action) }
    if outbox.isOverfull {
      outbox.removeAll()
      return handle(.command(.disconnect(reason: "it does not read what this worker sends")))
    }
    if let timer { loop.cancel(timer) }
    timer = core.nextWake.map { wake in
      loop.schedule(at: started + wake) { [unowned self] in handle(.tick) }
    }
  }

  private func perform(_ action: WorkerCore.Action) {
    switch action {
    case .locate:
      dial(settings.broker.description, .publicEndpoint)
      try? socket?.send(WireCodec.encode(ClientRequest.locate, request: 1))
    case .dial(let port):
      dial(settings.broker.with(port: port), .workerPort)
    case .hangUp: hangUp()
    case .send(let message):
      outbox.add(message)
      flush()
    case .compute(let command): compute.post(command, to: seat)
    case .ready: onReady()
    case .note(.info, let text): logger.info("\(text)")
    case .note(.warning, let text): logger.warning("\(text)")
    case .leave(let departure): finish(.success(departure))
    }
  }

  private func finish(_ result: Result<WorkerCore.Departure, any Error>) {
    guard departure == nil else { return }
    departure = result
    eventSink.finish()
  }

  // MARK: socket

  private func dial(_ endpoint: String, _ end: End) {
    hangUp()
    var options = SocketOptions()
    options.sendHighWaterMark = 32
    options.receiveHighWaterMark = 64
    // For the goodbye and the checkpoints before it.
    if end == .workerPort { options.linger = .seconds(2) }
    options.reconnectMaximum = .seconds(2)
    options.curve = settings.identity?.curve
    do {
      let socket = try Socket(context, .dealer, options)
      // The failures of a socket may come in one go, and it is hung up at the first.
      dials += 1
      try loop.onHandshakeFailure(of: socket) { [unowned self, dials] failure in
        if self.socket != nil, self.dials == dials { turnedAway(failure) }
      }
      try socket.connect(endpoint)
      loop.add(socket) { [unowned self] in receive() }
      self.socket = socket
      self.end = end
    } catch {
      finish(.failure(error))
    }
  }

  private func turnedAway(_ failure: HandshakeFailure) {
    // A broker that is just going away breaks off too, and is dialled again.
    if failure == .brokenOff, settings.identity == nil { return }
    handle(
      .turnedAway(
        reason: failure.explanation(broker: settings.broker.description, settings.identity, line: "worker KEY stages=\(stage)")))
  }

  private func hangUp() {
    outbox.removeAll()
    guard let socket else { return }
    loop.remove(socket)
    socket.close()
    self.socket = nil
  }

  private func receive() {
    let socket = socket
    // A peer that never pauses must not keep the loop from its timers; the rest comes next turn.
    for _ in 0..<64 {
      // What was received may have made the core hang up and dial again.
      guard let socket, self.socket === socket else { return }
      do {
        guard let frames = try socket.receive() else { return }
        switch end {
        case .publicEndpoint: receivedReply(frames)
        case .workerPort: receivedCommand(frames)
        }
      } catch {
        if error.code == .tooManyFrames {
          handle(.unreadable(reason: error.description))
        } else {
          return handle(.command(.disconnect(reason: error.description)))
        }
      }
    }
  }

  private func receivedReply(_ frames: [Frame]) {
    do {
      switch try WireCodec.decodeClientReply(frames).1 {
      case .located(let port): handle(.located(port: port))
      case .refused(let refusal): handle(.locateFailed(reason: "it refused to name its worker port: \(refusal.reason)"))
      default: handle(.locateFailed(reason: "it answered with something that was not asked for"))
      }
    } catch {
      handle(.locateFailed(reason: "what answers there does not speak Weir's protocol: \(error)"))
    }
  }

  private func receivedCommand(_ frames: [Frame]) {
    do {
      handle(.command(try WireCodec.decodeWorkerCommand(frames)))
    } catch {
      handle(.unreadable(reason: "\(error)"))
    }
  }

  private func flush() {
    guard let socket else { return outbox.removeAll() }
    while let message = outbox.messages.first {
      do {
        try socket.send(WireCodec.encode(message))
      } catch let error as WireError {
        // A worker that cannot say what it is will never be given work.
        if case .hello = message { return finish(.failure(error)) }
        logger.error("could not send a message: \(error)")
      } catch let error as ZeroMQError where error.code == .wouldBlock {
        return loop.onceWritable(socket) { [unowned self] in flush() }
      } catch {
        // The broker will notice the silence, and so will the core.
        logger.warning("could not send to the broker: \(error)")
      }
      outbox.removeFirst()
    }
  }
}
