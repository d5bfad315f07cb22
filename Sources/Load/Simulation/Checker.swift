import Broker
import Wire

/// Watches a broker from outside: what it is told, what it says, what is on its disk. It keeps books of its own on jobs, leases and credit
/// and compares. The first violation counts.
struct Checker {
  /// A worker the broker has welcomed in this life.
  struct Peer {
    var hello: WorkerHello
    var lastHeard: Int64
    var isGone = false

    var process: Process { Process(name: hello.name, boot: hello.boot) }
  }

  struct Process: Hashable {
    var name: String
    var boot: UInt64
  }

  struct Lease {
    var attempt: UInt32
    /// `nil`: its worker is away, or the broker has restarted.
    var peer: PeerID?
    var bytes: UInt64
    var lastProgress: Int64
    var step: UInt32
    /// It repeats what was done, to find out who lies.
    var isTrial = false
  }

  private struct Question: Hashable {
    var peer: PeerID
    var request: UInt64
  }

  let plan: SimulationPlan
  let limits: BrokerLimits
  let stageCount: Int
  private(set) var violation: Violation?
  private var oracle: Oracle
  private var acknowledged: Set<JobID> = []
  var peers: [PeerID: Peer] = [:]
  var leases: [TaskID: Lease] = [:]
  /// Of those that left.
  private var lastAttempt: [TaskID: UInt32] = [:]
  private var watchers: [JobID: Set<Question>] = [:]
  /// Samples whose input the disk lost.
  var damaged: Set<TensorKey> = []
  /// Drafts that were in memory only, and that nobody needs to remember any more.
  var lostDrafts: Set<TensorKey> = []
  /// What liars made.
  private var lies: Set<TensorClaim> = []
  /// What the disk will have once all that was said is written.
  var books = JournalModel()
  var terms: Terms
  var quarantined: Set<Process> = []
  /// The step from which an attempt was told to go on.
  private var firstSteps: [TaskRef: UInt32] = [:]
  /// Tasks taken from a worker that took no step: it isn't told, and may come back with them.
  private var stalled: [Process: Set<TaskRef>] = [:]

  private struct TensorClaim: Hashable {
    var task: TaskID
    var digest: [UInt8]
  }

  init(_ plan: SimulationPlan) {
    self.plan = plan
    limits = plan.limits
    stageCount = plan.pipeline.stages.count
    oracle = Oracle(plan.pipeline)
    terms = Terms(plan)
  }

  /// A worker is about to send a wrong result.
  mutating func lied(_ result: TaskResult) { lies.insert(TensorClaim(task: result.task.task, digest: result.digest)) }

  mutating func note(_ rule: Violation.Rule, _ what: @autoclosure () -> String) {
    if violation == nil { violation = Violation(rule: rule, what: what()) }
  }

  mutating func expect(_ condition: Bool, _ rule: Violation.Rule, _ what: @autoclosure () -> String) {
    if !condition { note(rule, what()) }
  }

  // MARK: The broker's life

  mutating func brokerDied() {
    peers = [:]
    watchers = [:]
    stalled = [:]
  }

  /// A new broker knows what its disk has.
  mutating func brokerStarts(_ journal: JournalModel, at instant: Instant) {
    books = journal
    terms.brokerStarts(journal, at: instant)
    quarantined = Set(journal.quarantined.map { Process(name: $0.name, boot: $0.boot) })
    for job in acknowledged where journal.jobs[job] == nil && !journal.forgotten.contains(job) {
      note(.accepted, "job \(job) is not on disk")
    }
    lostDrafts.formUnion(journal.unwritten.keys)
    leases = [:]
    for job in journal.jobs.values where job.ending == nil {
      for (index, sample) in job.samples.enumerated() where sample.isLeased {
        let task = TaskID(job: job.record.id, sample: UInt32(index), stage: UInt32(sample.outcomes.count))
        leases[task] = Lease(attempt: sample.attempt, peer: nil, bytes: 0, lastProgress: 0, step: 0)
      }
    }
  }

  // MARK: Events and what the broker does about them

  /// - Parameter instant: the broker's time.
  mutating func check(_ event: Event, _ actions: [Action], at instant: Instant) {
    let now = instant.milliseconds
    // Who is gone is told nothing, whatever else happens in the same moment.
    if case .clientGone(let peer) = event {
      for job in Array(watchers.keys) { watchers[job] = watchers[job]?.filter { $0.peer != peer } }
    }
    hear(event, actions, at: now)
    noteTerms(event, actions, at: instant)
    endTrials(event, actions)
    for action in actions {
      switch action {
      case .persist(let record):
        check(record, because: event, actions, at: now)
        checkTerms(record, because: event, at: now)
        books.apply(record)
      case .assign(let peer, let order):
        check(order, to: peer, at: now)
        checkTerms(order, to: peer, at: now)
      case .wake(let time): expect(time > now, .timers, "it wants to be woken at \(time), and it is \(now)")
      case .reply, .image, .history, .command, .log: break
      }
    }
    checkDeadlines(at: now)
    checkAnswers(to: event, actions)
    checkSettled(event, actions)
    if case .workerGone(let peer, _) = event { peers[peer]?.isGone = true }
  }

  private mutating func hear(_ event: Event, _ actions: [Action], at now: Int64) {
    guard case .worker(let peer, let message) = event else { return }
    peers[peer]?.lastHeard = now
    switch message {
    case .hello(let hello): welcome(hello, at: peer, actions, now)
    case .progress(let progress, _): progressed(progress, peer, now)
    case .beat(let running): for progress in running { progressed(progress, peer, now) }
    case .checkpoint(let ref, let checkpoint): progressed(TaskProgress(ref, step: checkpoint.step), peer, now)
    case .result, .failure, .goodbye: break
    }
  }

  private mutating func progressed(_ progress: TaskProgress, _ peer: PeerID, _ now: Int64) {
    guard let lease = leases[progress.task.task], lease.peer == peer, lease.attempt == progress.task.attempt, progress.step > lease.step
    else { return }
    leases[progress.task.task]?.step = progress.step
    leases[progress.task.task]?.lastProgress = now
  }

  private mutating func welcome(_ hello: WorkerHello, at peer: PeerID, _ actions: [Action], _ now: Int64) {
    var isRefused = false
    var isOver: Set<TaskRef> = stalled[Process(name: hello.name, boot: hello.boot)] ?? []
    for case .persist(.leased(let ref)) in actions { isOver.remove(ref) }
    for case .command(peer, let command) in actions {
      if case .disconnect = command { isRefused = true }
      if case .revoke(let ref) = command { isOver.insert(ref) }
    }
    // The process' older connections are as good as gone.
    for (other, known) in peers where known.hello.name == hello.name && known.hello.boot == hello.boot { peers[other]?.isGone = true }
    peers[peer] = isRefused ? nil : Peer(hello: hello, lastHeard: now)
    guard !isRefused else { return }
    for progress in hello.running where !isOver.contains(progress.task) {
      let task = progress.task.task
      if let lease = leases[task] {
        let other = lease.peer.flatMap { peers[$0] }
        expect(
          other == nil || other?.isGone == true, .oneLease,
          "\(progress.task) goes on at \(hello.name), and is leased to \(other?.hello.name ?? "")")
        expect(
          lease.attempt == progress.task.attempt, .attempts, "\(progress.task) goes on, but attempt \(lease.attempt) is the present one")
      }
      leases[task] = Lease(
        attempt: progress.task.attempt, peer: peer, bytes: 0, lastProgress: now, step: max(progress.step, leases[task]?.step ?? 0))
    }
  }

  // MARK: Records

  private mutating func check(_ record: Record, because event: Event, _ actions: [Action], at now: Int64) {
    switch record {
    case .released(let task, _):
      expect(isJustified(task, event, actions, now), .eviction, "\(task) is taken away because of \(event)")
      if case .tick = event, let lease = leases[task], let process = lease.peer.flatMap({ peers[$0]?.process }) {
        stalled[process, default: []].insert(TaskRef(task, attempt: lease.attempt))
      }
      leases[task] = nil
    case .checkpoint(let task, _, _):
      guard case .worker(let peer, .checkpoint(let ref, _)) = event, let lease = leases[task] else {
        return note(.fencing, "a checkpoint of \(task) because of \(event)")
      }
      expect(lease.peer == peer && lease.attempt == ref.attempt, .fencing, "a checkpoint of \(ref), but attempt \(lease.attempt) is on")
    case .stageDone(let task, _, _), .draftDone(let task, _, _):
      leases[task] = nil
      if case .worker(let peer, .result) = event, let process = peers[peer]?.process {
        expect(!quarantined.contains(process), .quarantine, "a result of \(task) is taken from \(process.name), which is quarantined")
      }
    case .sampleFailed(let job, let index, _): checkFailure(job, index, event, actions, now)
    case .restarted(let ref): checkRestart(ref, event)
    case .finished(let job, let state, _):
      leases = leases.filter { $0.key.job != job }
      // If a failed sample is tried again, it begins anew.
      lostDrafts.formUnion(books.unwritten.keys.filter { $0.job == job })
      tellWatchers(of: job, state, actions)
    case .chosen(let job, let cancelled):
      leases = leases.filter { $0.key.job != job || !cancelled.contains($0.key.sample) }
    case .quarantined(let name, let boot, _):
      expect(plan.machines.contains { $0.name == name && $0.lies }, .quarantine, "worker \(name) is quarantined, and does not lie")
      quarantined.insert(Process(name: name, boot: boot))
    case .pardoned(let name, let boot): quarantined.remove(Process(name: name, boot: boot))
    case .leased(let ref):
      for process in Array(stalled.keys) { stalled[process]?.remove(ref) }
    case .attempted(let job, let attempt):
      let task = TaskRef(TaskID(job: job, sample: attempt.sample, stage: attempt.stage), attempt: attempt.number)
      // The broker may have died before it heard whose it is.
      guard !attempt.worker.isEmpty, let first = firstSteps[task] else { break }
      expect(attempt.firstStep == first, .history, "\(task) is said to have begun at step \(attempt.firstStep), and was told \(first)")
    case .pipeline, .pipelineForgotten, .accepted, .failuresCounted, .checkpointDropped, .forgotten, .retried, .draftKept: break
    }
  }

  /// A record, just before it is written.
  mutating func checkWritten(_ record: Record, _ journal: JournalModel) {
    switch record {
    case .accepted(let job):
      checkRoom(for: job.samples.count * stageCount, of: job, journal)
    case .retried(let job, let tasks):
      guard let record = journal.jobs[job]?.record else { return note(.records, "a retry of the unknown job \(job)") }
      checkRoom(for: tasks.reduce(0) { $0 + stageCount - Int($1.task.stage) }, of: record, journal)
    case .stageDone(let task, let outcome, let output), .draftDone(let task, let outcome, let output):
      guard let job = journal.jobs[task.job]?.record else { return note(.records, "the end of \(task), which is unknown") }
      let key = TensorKey(job: task.job, sample: task.sample, stage: task.stage)
      // What the disk lost meanwhile was right when it was handed out.
      let source = TensorKey(job: task.job, sample: task.sample, stage: task.stage &- 1)
      let input = task.stage == 0 ? nil : journal.outputs[source] ?? journal.unwritten[source]
      let isBlind = task.stage > 0 && input == nil
      let isLie = lies.contains(TensorClaim(task: task, digest: output.digest))
      let isRight = isBlind || isLie || output == oracle.output(of: task, job, input: input)
      expect(isRight && outcome.digest.bytes == output.digest, .bytes, "the output of \(task)")
      damaged.remove(key)
      lostDrafts.remove(key)
    case .sampleFailed(let job, let index, let reason):
      guard let sample = journal.jobs[job]?.samples[Int(index)] else { return note(.records, "the failure of an unknown sample") }
      let input = TensorKey(job: job, sample: index, stage: UInt32(max(sample.outcomes.count, 1) - 1))
      // What is computed again may be lost again.
      if !sample.outcomes.isEmpty, damaged.contains(input), AttemptNumber.restarts(sample.attempt) >= limits.maxAttempts { return }
      expect(sample.failures + 1 >= limits.maxAttempts, .givenUp, "sample \(index) of \(job) after \(sample.failures) failures: \(reason)")
    default: break
    }
  }

  /// Something happened to the lease that may end it.
  private func isJustified(_ task: TaskID, _ event: Event, _ actions: [Action], _ now: Int64) -> Bool {
    guard let lease = leases[task], let holder = lease.peer, let peer = peers[holder], !peer.isGone else { return true }
    if now - peer.lastHeard >= Int64(limits.deadMilliseconds) || now - lease.lastProgress >= Int64(limits.stallMilliseconds) { return true }
    for case .command(holder, .disconnect) in actions { return true }
    // Whoever is found out by another's result loses all.
    if case .worker(_, .result) = event, quarantined.contains(peer.process) { return true }
    switch event {
    case .worker(let sender, .failure(let ref, _, _)): return sender == holder && ref.task == task && ref.attempt == lease.attempt
    case .worker(let sender, .result(let result)):
      return sender == holder && result.task.task == task && result.task.attempt == lease.attempt
    case .worker(let sender, .goodbye), .worker(let sender, .hello): return sender == holder
    case .tensorsLost(let ref, _): return ref.task == task && ref.attempt == lease.attempt
    default: return false
    }
  }

  private mutating func checkRoom(for tasks: Int, of job: JobRecord, _ journal: JournalModel) {
    let tenant = job.terms.tenant
    expect(journal.openTasks + tasks <= limits.maxOpenTasks, .admission, "\(tasks) tasks are accepted, \(journal.openTasks) are open")
    let ofTenant = journal.openTasks(of: tenant)
    expect(ofTenant + tasks <= limits.maxOpenTasksPerTenant, .admission, "\(tasks) tasks of \(tenant) are accepted, \(ofTenant) are open")
  }

  private mutating func checkRestart(_ ref: TaskRef, _ event: Event) {
    guard case .tensorsLost(let lost, let which) = event, which != .checkpoint, lost.task.job == ref.task.job,
      lost.task.sample == ref.task.sample
    else { return note(.eviction, "\(ref) begins anew because of \(event)") }
    let input = TensorKey(job: lost.task.job, sample: lost.task.sample, stage: lost.task.stage - 1)
    expect(
      (which == .input ? damaged : lostDrafts).contains(input) && leases[lost.task]?.attempt == lost.attempt, .eviction,
      "\(ref) begins anew, though \(lost) was not lost")
    leases[lost.task] = nil
  }

  private mutating func checkFailure(_ job: JobID, _ index: UInt32, _ event: Event, _ actions: [Action], _ now: Int64) {
    let held = leases.first { $0.key.job == job && $0.key.sample == index && !$0.value.isTrial }
    guard let task = held?.key else {
      return note(.eviction, "sample \(index) of \(job), which nobody has, is given up because of \(event)")
    }
    let isInputLost = task.stage > 0 && damaged.contains(TensorKey(job: job, sample: index, stage: task.stage - 1))
    expect(isInputLost || isJustified(task, event, actions, now), .eviction, "\(task) is given up because of \(event)")
    leases[task] = nil
  }

  private mutating func tellWatchers(of job: JobID, _ state: JobState, _ actions: [Action]) {
    var told: [Question: Int] = [:]
    for case .reply(let peer, let request, .event(let status)) in actions where status.job == job && status.state == state {
      told[Question(peer: peer, request: request), default: 0] += 1
    }
    for watcher in watchers.removeValue(forKey: job) ?? [] {
      expect(told[watcher] == 1, .watchers, "job \(job) is \(state); watcher \(watcher.peer) is told \(told[watcher] ?? 0) times")
    }
  }

  // MARK: Leases

  private mutating func check(_ order: AssignOrder, to holder: PeerID, at now: Int64) {
    let task = order.task.task
    guard let peer = peers[holder], !peer.isGone else { return note(.oneLease, "\(order.task) is sent to nobody") }
    let present = leases[task]?.attempt
    let last = lastAttempt[task] ?? 0
    expect(present == nil, .oneLease, "\(order.task) is leased; attempt \(present ?? 0) is not over")
    expect(order.task.attempt > last, .attempts, "\(order.task) follows attempt \(last)")
    expect(!quarantined.contains(peer.process), .quarantine, "\(order.task) is given to \(peer.hello.name), which is quarantined")
    let sample = books.openSample(task)
    let isTrial = (books.jobs[task.job]?.samples[Int(task.sample)].outcomes.count ?? 0) > Int(task.stage)
    if !isTrial, let job = books.jobs[task.job] {
      expect(job.ending == nil, .cancelled, "\(order.task) is leased, and its job is over")
    }
    let input: UInt64 = task.stage == 0 ? 0 : 12 << UInt64(2 * (task.stage - 1))
    let bytes = input + (order.checkpointStep == nil ? 0 : sample?.checkpoint?.bytes ?? 0)
    let held = leases.values.filter { $0.peer == holder }
    expect(
      held.count < Int(peer.hello.slots + peer.hello.prefetch), .credit,
      "\(peer.hello.name) gets \(order.task), and has \(held.count) of \(peer.hello.slots) and \(peer.hello.prefetch)")
    let sum = held.reduce(bytes) { $0 + $1.bytes }
    expect(sum <= peer.hello.bytes, .credit, "\(peer.hello.name) gets \(order.task), \(sum) bytes of \(peer.hello.bytes)")
    expect(
      peer.hello.stage == peer.hello.pipeline.stages[Int(task.stage)].name, .credit,
      "\(peer.hello.name) gets \(order.task) of another stage")
    expect(
      order.input == (task.stage == 0 ? nil : TensorKey(job: task.job, sample: task.sample, stage: task.stage - 1)), .bytes,
      "\(order.task) gets the input \(order.input as Any)")
    leases[task] = Lease(
      attempt: order.task.attempt, peer: holder, bytes: bytes, lastProgress: now, step: order.checkpointStep ?? 0, isTrial: isTrial)
  }

  /// Trials leave no record.
  private mutating func endTrials(_ event: Event, _ actions: [Action]) {
    for (task, lease) in leases where lease.isTrial {
      guard let holder = lease.peer, let peer = peers[holder], !peer.isGone else {
        leases[task] = nil
        continue
      }
      let ref = TaskRef(task, attempt: lease.attempt)
      var isOver = books.jobs[task.job] == nil
      switch event {
      case .worker(holder, .result(let result)): if result.task == ref { isOver = true }
      case .worker(holder, .failure(ref, _, _)), .worker(holder, .goodbye), .worker(holder, .hello), .workerGone(holder, _),
        .tensorsLost(ref, _):
        isOver = true
      default: break
      }
      for case .command(holder, let command) in actions {
        switch command {
        case .revoke(ref), .disconnect: isOver = true
        default: break
        }
      }
      if isOver { leases[task] = nil }
    }
  }

  // MARK: Answers

  private mutating func checkAnswers(to event: Event, _ actions: [Action]) {
    var question: Question?
    var request: ClientRequest?
    if case .client(let peer, let number, let asked, _) = event {
      question = Question(peer: peer, request: number)
      request = asked
    }
    var answers = 0
    for action in actions {
      switch action {
      case .reply(let peer, let number, .event(let status)):
        let to = Question(peer: peer, request: number)
        guard to == question, case .watch? = request else { continue }
        answers = 1
        if !status.state.isFinal { watchers[status.job, default: []].insert(to) }
      case .reply(let peer, let number, _), .image(let peer, let number, _), .history(let peer, let number, _, _, _):
        expect(Question(peer: peer, request: number) == question, .answers, "request \(number) of \(peer) is answered again")
        answers += 1
      case .persist, .command, .assign, .wake, .log: break
      }
    }
    if let request { expect(answers == 1, .answers, "\(request) has \(answers) answers") }
  }

  private mutating func checkSettled(_ event: Event, _ actions: [Action]) {
    guard case .worker(let peer, let message) = event, let name = peers[peer]?.hello.name else { return }
    let ref: TaskRef
    switch message {
    case .result(let result): ref = result.task
    case .failure(let task, _, _):
      ref = task
      expect(
        leases[task.task].map { $0.peer != peer || $0.attempt != task.attempt } ?? true, .settled,
        "\(task) failed, and \(name) still has it")
    case .hello, .progress, .checkpoint, .beat, .goodbye: return
    }
    for case .command(peer, let command) in actions {
      switch command {
      case .settled(ref), .revoke(ref), .disconnect: return
      default: break
      }
    }
    note(.settled, "the report on \(ref) has no answer")
  }

  // MARK: Messages, as they leave

  mutating func checkSent(_ action: Action, _ journal: JournalModel) {
    switch action {
    case .reply(_, _, .accepted(let acceptance)):
      acknowledged.insert(acceptance.job)
      expect(
        journal.jobs[acceptance.job] != nil || journal.forgotten.contains(acceptance.job), .accepted, "job \(acceptance.job) is not on disk"
      )
    case .reply(_, _, .event(let status)) where status.state.isFinal:
      let ending = journal.jobs[status.job]?.ending
      expect(ending?.state == status.state, .clients, "job \(status.job) is said to be \(status.state), on disk \(ending as Any)")
    case .image(_, _, let order):
      guard let job = journal.jobs[order.key.job]?.record else { return note(.clients, "an image of the unknown job \(order.key.job)") }
      let isDraft = Int(order.key.stage) + 1 < stageCount
      let outcomes = journal.jobs[order.key.job]?.samples[Int(order.key.sample)].outcomes ?? []
      let outcome = Int(order.key.stage) < outcomes.count ? outcomes[Int(order.key.stage)] : nil
      // A draft may be lost, and its sample begun anew, in the same turn.
      expect(
        Int(order.key.sample) < job.samples.count && (order.digest == outcome?.digest || isDraft && outcome == nil), .bytes,
        "image \(order.key.sample) of \(order.key.job)")
    case .command(let peer, .settled(let ref)):
      // On another connection its worker may have it again by now.
      let isElsewhere = leases[ref.task].map { $0.peer != peer } ?? false
      if let sample = journal.openSample(ref.task), !isElsewhere {
        expect(!sample.isLeased || sample.attempt != ref.attempt, .settled, "\(ref) is settled, and on disk it goes on")
      }
    case .assign(_, let order):
      lastAttempt[order.task.task] = max(order.task.attempt, lastAttempt[order.task.task] ?? 0)
      if let sample = journal.openSample(order.task.task) {
        expect(sample.attempt >= order.task.attempt, .durableBeforeSent, "\(order.task) leaves, on disk is attempt \(sample.attempt)")
      }
    case .reply, .history, .command, .persist, .wake, .log: break
    }
  }

  /// The job that a cancellation was about is at rest on disk.
  mutating func checkCancelled(_ job: JobID, _ journal: JournalModel) {
    expect(journal.jobs[job]?.ending != nil, .cancelled, "job \(job) is said to be cancelled, and on disk it goes on")
  }

  /// The checkpoint that goes with an assignment.
  mutating func checkResume(_ order: AssignOrder, at holder: PeerID, _ journal: JournalModel) {
    firstSteps[order.task] = order.checkpointStep ?? 0
    guard let peer = peers[holder], let sample = journal.openSample(order.task.task), sample.attempt == order.task.attempt else { return }
    let input: UInt64 = order.task.task.stage == 0 ? 0 : 12 << UInt64(2 * (order.task.task.stage - 1))
    let usable = sample.checkpoint.flatMap { checkpoint in
      checkpoint.numerics == peer.hello.numerics && input + checkpoint.bytes <= peer.hello.bytes ? checkpoint.step : nil
    }
    expect(
      order.checkpointStep == usable, .resume,
      "\(order.task) goes on from step \(order.checkpointStep ?? 0) at \(peer.hello.name), its checkpoint is \(sample.checkpoint as Any)")
  }
}
