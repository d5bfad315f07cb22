import SeededRandom
package import Wire
import ZeroMQ

/// A worker's life as a pure state machine: events in, actions out, time as an argument.
///
/// It finds the broker (`locate`, then `hello` on the worker port), keeps the connection alive, holds tasks and remembers each result until
/// the broker has it on disk. While the broker is away the compute thread goes on; finished work is sent again after the next welcome.
///
/// Times are durations since any fixed start.
package struct WorkerCore: Sendable {
  package struct Configuration: Sendable {
    /// What to say on arrival; `running` is filled in when it is sent.
    package var hello: WorkerHello
    /// The broker's public endpoint, for messages.
    package var broker: String
    /// Give up after this long without a broker; `nil`: never.
    package var connectTimeout: Duration?
    /// Seed of the back-off's jitter.
    package var jitterSeed: UInt64

    package init(hello: WorkerHello, broker: String, connectTimeout: Duration? = nil, jitterSeed: UInt64) {
      self.hello = hello
      self.broker = broker
      self.connectTimeout = connectTimeout
      self.jitterSeed = jitterSeed
    }
  }

  package enum Event: Sendable {
    case start
    /// The handshake failed for a reason that only people can change.
    case turnedAway(reason: String)
    /// `nextWake` has come.
    case tick
    case located(port: UInt32)
    /// The public endpoint answered `locate`, but not with a port.
    case locateFailed(reason: String)
    case command(WorkerCommand)
    /// A message on the worker port that is no command.
    case unreadable(reason: String)
    case compute(ComputeEvent)
    /// Leave in good order (SIGTERM).
    case drain
  }

  package enum Action: Sendable, Hashable {
    /// Open a new socket to the broker's public endpoint in place of any other, and send `locate`.
    case locate
    /// Open a new socket to this port of the broker's host in place of any other.
    case dial(port: UInt16)
    /// Close the socket.
    case hangUp
    case send(WorkerMessage)
    case compute(ComputeCommand)
    /// Welcomed for the first time.
    case ready
    case note(Severity, String)
    /// The last action: end the process.
    case leave(Departure)
  }

  package enum Severity: Sendable, Hashable { case info, warning }

  package enum Departure: Sendable, Hashable {
    case drained
    /// No broker within `connectTimeout`.
    case gaveUp(reason: String)
  }

  /// How long an answer to `locate` or `hello` may take.
  package static let answerTimeout = Duration.seconds(3)
  package static let firstBackOff = Duration.milliseconds(100)
  package static let longestBackOff = Duration.seconds(3)
  /// Between two lines about a broker that does not answer.
  package static let complaintInterval = Duration.seconds(5)
  /// Progress of one task is sent at most this often.
  package static let progressInterval = Duration.milliseconds(100)
  /// How long a leaving worker waits for its last results to be settled.
  package static let settleTimeout = Duration.seconds(2)

  private enum Link {
    case idle
    case down(until: Duration)
    case locating(deadline: Duration)
    case greeting(deadline: Duration)
    case live(Session)
    case closed
  }

  private struct Session {
    var beat: Duration
    var dead: Duration
    /// `nil`: no checkpoints.
    var checkpoint: Duration?
    /// Of all tasks' checkpoints together; 0: no limit.
    var checkpointBytesPerSecond: UInt64
    /// What was sent so far has used up the limit until then.
    var nextCheckpoint: Duration
    var lastHeard: Duration
    var nextBeat: Duration
  }

  /// A task on the compute thread.
  private struct Held {
    var task: TaskRef
    var step: UInt32
    var firstStep: UInt32
    /// When it was given, or its first step began.
    var since: Duration
    var lastProgress: Duration?
    /// When the last one was asked for.
    var lastCheckpoint: Duration
    /// The broker no longer wants it; the compute thread has been told.
    var revoked = false
  }

  /// A result or failure the broker has not settled.
  private struct Unsettled {
    var progress: TaskProgress
    /// See `Held`.
    var since: Duration
    var message: WorkerMessage
  }

  private enum Drain {
    case no
    /// The compute thread is handing back what it runs.
    case handingBack
    case settling(deadline: Duration)
  }

  private let configuration: Configuration
  private var random: SplitMix64
  private var link = Link.idle
  private var failures = 0
  private var welcomed = false
  private var downSince: Duration = .zero
  private var nextComplaint: Duration = .zero
  private var lastTrouble = "nothing answers"
  private var held: [Held] = []
  private var unsettled: [Unsettled] = []
  private var drain = Drain.no

  package init(configuration: Configuration) {
    self.configuration = configuration
    random = SplitMix64(seed: configuration.jitterSeed)
  }

  /// When `.tick` is due; `nil`: nothing to wait for.
  package var nextWake: Duration? {
    var wakes: [Duration] = []
    switch link {
    case .idle, .closed: return nil
    case .down(let until): wakes.append(until)
    case .locating(let deadline), .greeting(let deadline): wakes.append(deadline)
    case .live(let session): wakes += [session.nextBeat, session.lastHeard + session.dead]
    }
    if !isLive {
      wakes.append(nextComplaint)
      if let timeout = configuration.connectTimeout { wakes.append(downSince + timeout) }
    }
    if case .settling(let deadline) = drain { wakes.append(deadline) }
    return wakes.min()
  }

  /// Tasks on the compute thread that the broker still wants.
  package var running: [TaskProgress] { wanted.map { TaskProgress($0.task, step: $0.step) } }

  private var wanted: some Sequence<Held> { held.lazy.filter { !$0.revoked } }

  package mutating func handle(_ event: Event, at now: Duration) -> [Action] {
    var actions: [Action] = []
    if case .closed = link { return actions }
    switch event {
    case .start:
      downSince = now
      nextComplaint = now + Self.complaintInterval
      dial(now, &actions)
    case .tick: tick(now, &actions)
    case .located(let port): located(port, now, &actions)
    case .locateFailed(let reason):
      if case .locating = link { goDown(reason, now, &actions) }
    case .turnedAway(let reason): turnedAway(reason, now, &actions)
    case .command(let command): obey(command, now, &actions)
    case .unreadable(let reason):
      actions.append(.note(.warning, "ignored a message from the broker: \(reason)"))
    case .compute(let event): computed(event, now, &actions)
    case .drain: beginDrain("told to leave by a signal", now, &actions)
    }
    return actions
  }

  // MARK: connection

  private var isLive: Bool { if case .live = link { true } else { false } }

  private mutating func dial(_ now: Duration, _ actions: inout [Action]) {
    link = .locating(deadline: now + Self.answerTimeout)
    actions.append(.locate)
  }

  private mutating func located(_ port: UInt32, _ now: Duration, _ actions: inout [Action]) {
    guard case .locating = link else { return }
    guard let port = UInt16(exactly: port), port > 0 else {
      return goDown("the broker named \(port) as its worker port", now, &actions)
    }
    link = .greeting(deadline: now + Self.answerTimeout)
    var hello = configuration.hello
    let claims = wanted.map { (TaskProgress($0.task, step: $0.step, firstStep: $0.firstStep), $0.since) }
    hello.running = (claims + unsettled.map { ($0.progress, $0.since) }).map { progress, since in
      var progress = progress
      progress.runningMilliseconds = UInt64(max(0, (now - since) / .milliseconds(1)))
      return progress
    }
    actions += [.dial(port: port), .send(.hello(hello))]
  }

  /// It may be let in later, and comes back for that. Said at once, and then as often as that nothing answers.
  private mutating func turnedAway(_ reason: String, _ now: Duration, _ actions: inout [Action]) {
    switch link {
    case .locating, .greeting:
      if reason != lastTrouble { actions.append(.note(.warning, "turned away: \(reason); still trying")) }
    case .live: break
    case .idle, .down, .closed: return
    }
    goDown(reason, now, &actions)
  }

  /// Everything the broker may count on: what runs, and what is finished but not settled.
  private var progressOfAll: [TaskProgress] { running + unsettled.map(\.progress) }

  private mutating func welcome(
    beat: UInt32, dead: UInt32, checkpoint: UInt32, checkpointBytesPerSecond: UInt64, _ now: Duration, _ actions: inout [Action]
  ) {
    // A broker that asks for no beats at all would have every peer declared dead.
    let beat = Duration.milliseconds(max(beat, 10))
    link = .live(
      Session(
        beat: beat, dead: max(.milliseconds(dead), beat * 2), checkpoint: checkpoint == 0 ? nil : .milliseconds(checkpoint),
        checkpointBytesPerSecond: checkpointBytesPerSecond, nextCheckpoint: now,
        lastHeard: now, nextBeat: now + beat))
    failures = 0
    if !welcomed {
      welcomed = true
      actions.append(.ready)
    } else {
      actions.append(.note(.info, "back with the broker at \(configuration.broker), \(held.count) tasks in hand"))
    }
    actions += unsettled.map { .send($0.message) }
    // The last ones may have gone to a broker that was dying, or to none.
    guard checkpoint != 0 else { return }
    for index in held.indices where !held[index].revoked {
      held[index].lastCheckpoint = now
      actions.append(.compute(.checkpoint(held[index].task)))
    }
  }

  /// Leave the socket and dial again after a while that doubles from failure to failure, with jitter so that a fleet does not come back at once.
  private mutating func goDown(_ reason: String, _ now: Duration, _ actions: inout [Action]) {
    if isLive {
      downSince = now
      nextComplaint = now + Self.complaintInterval
      actions.append(.note(.warning, "lost the broker at \(configuration.broker): \(reason); dialling again"))
    }
    lastTrouble = reason
    actions.append(.hangUp)
    if case .no = drain {} else { return leave(.drained, &actions) }
    let backOff = min(Self.firstBackOff * (1 << min(failures, 10)), Self.longestBackOff)
    failures += 1
    link = .down(until: now + backOff * (0.5 + 0.5 * random.unit()))
  }

  private mutating func tick(_ now: Duration, _ actions: inout [Action]) {
    if !isLive {
      if let timeout = configuration.connectTimeout, now >= downSince + timeout {
        let reason = "no broker at \(configuration.broker) within \(seconds(timeout)): \(lastTrouble)"
        actions.append(.hangUp)
        return leave(.gaveUp(reason: reason), &actions)
      }
      if now >= nextComplaint {
        nextComplaint = now + Self.complaintInterval
        actions.append(
          .note(.warning, "no broker at \(configuration.broker) for \(seconds(now - downSince)): \(lastTrouble); still trying"))
      }
    }
    if case .settling(let deadline) = drain, now >= deadline { return sayGoodbye(&actions) }
    switch link {
    case .idle, .closed: break
    case .down(let until): if now >= until { dial(now, &actions) }
    case .locating(let deadline): if now >= deadline { goDown("nothing answers", now, &actions) }
    case .greeting(let deadline): if now >= deadline { goDown("no welcome on the worker port", now, &actions) }
    case .live(var session):
      if now >= session.lastHeard + session.dead {
        return goDown("silent for \(seconds(now - session.lastHeard))", now, &actions)
      }
      if now >= session.nextBeat {
        session.nextBeat = now + session.beat
        link = .live(session)
        actions.append(.send(.beat(running: progressOfAll)))
      }
    }
  }

  private func seconds(_ duration: Duration) -> String {
    let tenths = (duration / .milliseconds(100)).rounded() / 10
    return "\(tenths) s"
  }

  // MARK: commands

  private mutating func obey(_ command: WorkerCommand, _ now: Duration, _ actions: inout [Action]) {
    switch link {
    case .live(var session):
      session.lastHeard = now
      link = .live(session)
    case .greeting: break
    case .idle, .down, .locating, .closed: return
    }
    switch command {
    case .welcome(let beat, let dead, let checkpoint, let rate):
      if !isLive { welcome(beat: beat, dead: dead, checkpoint: checkpoint, checkpointBytesPerSecond: rate, now, &actions) }
    case .disconnect(let reason): turnedAway(reason, now, &actions)
    // Nothing else means anything before the welcome.
    case _ where !isLive: break
    case .assign(let assignment): take(assignment, now, &actions)
    case .revoke(let task): revoke(task, &actions)
    case .drain: beginDrain("drained by the broker", now, &actions)
    case .beat: break
    case .settled(let task):
      unsettled.removeAll { $0.progress.task == task }
      leaveIfSettled(&actions)
    }
  }

  private mutating func take(_ assignment: Assignment, _ now: Duration, _ actions: inout [Action]) {
    let task = assignment.task
    // The goodbye hands back whatever was assigned meanwhile.
    guard case .no = drain else { return }
    if let done = unsettled.first(where: { $0.progress.task == task }) {
      actions.append(.send(done.message))
      return
    }
    if let index = held.firstIndex(where: { $0.task == task }) {
      if held[index].revoked { refuse(task, "this worker is still stopping the same attempt", &actions) }
      return
    }
    for older in held where older.task.task == task.task { revoke(older.task, &actions) }
    let hello = configuration.hello
    guard running.count < Int(hello.slots) + Int(hello.prefetch) else {
      return refuse(task, "this worker has its \(hello.slots) and \(hello.prefetch) ahead", &actions)
    }
    let step = assignment.checkpoint?.step ?? 0
    held.append(Held(task: task, step: step, firstStep: step, since: now, lastCheckpoint: now))
    actions.append(.compute(.start(assignment)))
  }

  private mutating func refuse(_ task: TaskRef, _ reason: String, _ actions: inout [Action]) {
    actions.append(.note(.warning, "refused task \(task): \(reason)"))
    actions.append(.send(.failure(task, reason: reason, permanent: false)))
  }

  private mutating func revoke(_ task: TaskRef, _ actions: inout [Action]) {
    unsettled.removeAll { $0.progress.task == task }
    leaveIfSettled(&actions)
    guard let index = held.firstIndex(where: { $0.task == task }), !held[index].revoked else { return }
    held[index].revoked = true
    actions.append(.compute(.drop(task)))
  }

  // MARK: computation

  private mutating func computed(_ event: ComputeEvent, _ now: Duration, _ actions: inout [Action]) {
    switch event {
    case .stepped(let progress, let stepMilliseconds):
      for one in progress { stepped(one, stepMilliseconds, now, &actions) }
    case .checkpoint(let task, let checkpoint):
      guard let index = held.firstIndex(where: { $0.task == task }) else { return }
      held[index].step = checkpoint.step
      guard case .live(var session) = link, !held[index].revoked else { return }
      actions.append(.send(.checkpoint(task, checkpoint)))
      if session.checkpointBytesPerSecond > 0 {
        let bytes = checkpoint.tensors.reduce(0) { $0 + $1.data.count }
        session.nextCheckpoint = max(now, session.nextCheckpoint) + .seconds(Double(bytes) / Double(session.checkpointBytesPerSecond))
        link = .live(session)
      }
    case .finished(let result, let steps): ended(result.task, .result(result), step: steps, &actions)
    case .failed(let task, let reason, let permanent):
      actions.append(.note(.warning, "task \(task) failed\(permanent ? " for good" : ""): \(reason)"))
      ended(task, .failure(task, reason: reason, permanent: permanent), step: nil, &actions)
    case .dropped(let task): held.removeAll { $0.task == task }
    case .drained:
      held.removeAll()
      guard isLive else { return leave(.drained, &actions) }
      drain = .settling(deadline: now + Self.settleTimeout)
      leaveIfSettled(&actions)
    }
  }

  private mutating func stepped(_ progress: TaskProgress, _ milliseconds: Double, _ now: Duration, _ actions: inout [Action]) {
    guard let index = held.firstIndex(where: { $0.task == progress.task }), !held[index].revoked else { return }
    // One that was given ahead has waited until now.
    if held[index].step == held[index].firstStep { held[index].since = max(held[index].since, now - .milliseconds(milliseconds)) }
    held[index].step = progress.step
    guard case .live(let session) = link else { return }
    if now >= (held[index].lastProgress.map { $0 + Self.progressInterval } ?? now) {
      held[index].lastProgress = now
      actions.append(.send(.progress(progress, stepMilliseconds: milliseconds)))
    }
    if let interval = session.checkpoint, now >= held[index].lastCheckpoint + interval, now >= session.nextCheckpoint {
      held[index].lastCheckpoint = now
      actions.append(.compute(.checkpoint(progress.task)))
    }
  }

  private mutating func ended(_ task: TaskRef, _ message: WorkerMessage, step: UInt32?, _ actions: inout [Action]) {
    guard let index = held.firstIndex(where: { $0.task == task }) else { return }
    let was = held.remove(at: index)
    guard !was.revoked else { return }
    var message = message
    if case .result(var result) = message {
      result.firstStep = was.firstStep
      message = .result(result)
    }
    unsettled.append(
      Unsettled(
        progress: TaskProgress(task, step: step ?? was.step, firstStep: was.firstStep), since: was.since, message: message))
    if isLive { actions.append(.send(message)) }
  }

  // MARK: leaving

  private mutating func beginDrain(_ reason: String, _ now: Duration, _ actions: inout [Action]) {
    guard case .no = drain else { return }
    actions.append(.note(.info, "leaving: \(reason), \(held.count) tasks in hand"))
    guard isLive else {
      actions.append(.hangUp)
      return leave(.drained, &actions)
    }
    drain = .handingBack
    actions.append(.compute(.drain))
  }

  private mutating func leaveIfSettled(_ actions: inout [Action]) {
    if case .settling = drain, unsettled.isEmpty { sayGoodbye(&actions) }
  }

  private mutating func sayGoodbye(_ actions: inout [Action]) {
    actions += [.send(.goodbye(reason: "drained")), .hangUp]
    leave(.drained, &actions)
  }

  private mutating func leave(_ departure: Departure, _ actions: inout [Action]) {
    link = .closed
    actions.append(.leave(departure))
  }
}
