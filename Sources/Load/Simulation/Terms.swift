import Broker
import Wire

/// On what terms a client submitted a job, taken down when the broker accepted it, apart from what the broker makes of it.
struct Terms {
  struct Contract {
    var submission: Submission
    var tenant: String
    var deadlineUnix: UInt64?
    /// On the broker's monotonic clock; `.max`: none.
    var deadline: Int64 = .max
    /// Samples wait after this stage.
    var holdAfter: Int?
  }

  /// What two tenants got while both had work waiting.
  struct Race {
    var work: [String: Double] = [:]

    func ratio(_ weights: [String: Double], _ first: String, _ second: String) -> Double {
      (work[first] ?? 0) / (weights[first] ?? 1) / max((work[second] ?? 0) / (weights[second] ?? 1), 1)
    }
  }

  var contracts: [JobID: Contract] = [:]
  /// Open ones that have a deadline.
  var dated: Set<JobID> = []
  /// Whose held samples were chosen from.
  var released: Set<JobID> = []
  /// Tasks that failed, and wait a while.
  var backingOff: Set<TaskID> = []
  /// By stage, of this life of the broker: the shortest step that a worker reported, where the broker took note of one.
  var shortestStep: [Int: Double] = [:]
  var measured: Set<Int> = []
  /// By stage.
  let longestStep: [Double]
  let hasClasses: Bool
  var race = Race()

  init(_ plan: SimulationPlan) {
    longestStep = plan.pipeline.stages.indices.map { stage in
      plan.machines.filter { $0.stage == stage }.map { Double($0.stepMilliseconds) }.max() ?? 0
    }
    hasClasses = Set(plan.clients.map(\.submission.priority)).count > 1
  }

  mutating func brokerStarts(_ journal: JournalModel, at instant: Instant) {
    dated = []
    for (job, contract) in contracts {
      guard let deadline = contract.deadlineUnix else { continue }
      contracts[job]?.deadline = instant.milliseconds + Int64(deadline) - Int64(instant.unixMilliseconds)
      if let known = journal.jobs[job], known.ending == nil { dated.insert(job) }
    }
    released = Set(journal.jobs.values.filter(\.isChosen).map(\.record.id))
    backingOff = []
    shortestStep = [:]
    measured = []
    race = Race()
  }
}

extension Checker {
  /// A part of the predicted time may be missing for a job to be begun nevertheless.
  private static var certainty: Double { 0.9 }
  /// Tasks that are taken on alone after a step of a batch failed make it look longer.
  private static var measuringError: Double { 1.5 }
  /// Of the shares, once that many steps were taken.
  private static var shareError: Double { 0.05 }
  private static var stepsOfARace: Double { 400 }

  // MARK: Terms

  mutating func noteTerms(_ event: Event, _ actions: [Action], at instant: Instant) {
    if case .client(let peer, let number, .submit(let submission), _) = event {
      for case .reply(peer, number, let reply) in actions {
        switch reply {
        case .accepted(let acceptance): accepted(acceptance, submission, at: instant)
        case .refused(let refusal) where refusal.code == .tooLate: refused(submission)
        default: break
        }
      }
    }
    if case .worker(let peer, let message) = event, let hello = peers[peer]?.hello { measure(message, hello, peer) }
  }

  private mutating func accepted(_ acceptance: Acceptance, _ submission: Submission, at instant: Instant) {
    if acceptance.duplicate {
      let known = terms.contracts[acceptance.job]?.submission
      return expect(known == submission, .terms, "\(submission) is said to be job \(acceptance.job), which is \(known as Any)")
    }
    var contract = Terms.Contract(
      submission: submission, tenant: submission.tenant.isEmpty ? JobTerms.defaultTenant : submission.tenant,
      deadlineUnix: submission.deadlineMilliseconds.map { instant.unixMilliseconds + $0 },
      holdAfter: plan.pipeline.stages.firstIndex { $0.name == submission.holdAfter })
    if let asked = submission.deadlineMilliseconds {
      contract.deadline = instant.milliseconds + Int64(asked)
      terms.dated.insert(acceptance.job)
    }
    terms.contracts[acceptance.job] = contract
  }

  /// Even if one worker a stage had to do all there is, one step at a time, it could have been done.
  private mutating func refused(_ submission: Submission) {
    guard let asked = submission.deadlineMilliseconds else { return note(.deadlines, "\(submission) is too late, and has no deadline") }
    var work = 0.0
    for job in books.jobs.values where job.ending == nil {
      for sample in job.samples where sample.error == nil && !sample.isCancelled { work += longestWork(job, from: sample) }
    }
    let samples = SimulationPlan.samples(submission, of: plan.pipeline)
    var own = 0.0
    for (index, stage) in plan.pipeline.stages.enumerated() {
      let steps = submission.options.first { $0.stage == stage.name }?.steps ?? stage.defaultSteps
      own += Double(steps) * terms.longestStep[index]
    }
    let longest = Self.measuringError * (work + Double(samples + 1) * own)
    expect(longest > Double(asked), .deadlines, "a job is refused that takes \(Int(longest)) ms at most, and has \(asked) ms")
  }

  private func longestWork(_ job: JobSnapshot, from sample: SampleSnapshot) -> Double {
    (sample.outcomes.count..<stageCount).reduce(0) { $0 + Double(job.record.options[$1].steps ?? 0) * terms.longestStep[$1] }
  }

  private mutating func measure(_ message: WorkerMessage, _ hello: WorkerHello, _ peer: PeerID) {
    guard let stage = plan.pipeline.stages.firstIndex(where: { $0.name == hello.stage }) else { return }
    var step: Double?
    switch message {
    case .progress(let progress, let milliseconds) where milliseconds > 0:
      step = milliseconds
      if let lease = leases[progress.task.task], lease.peer == peer, lease.attempt == progress.task.attempt { terms.measured.insert(stage) }
    case .result(let result):
      let steps = books.jobs[result.task.task.job]?.record.options[stage].steps ?? 1
      step = result.computeMilliseconds / Double(max(steps, 1))
    default: break
    }
    if let step { terms.shortestStep[stage] = min(step, terms.shortestStep[stage] ?? step) }
  }

  // MARK: Records

  mutating func checkTerms(_ record: Record, because event: Event, at now: Int64) {
    switch record {
    case .accepted(let job):
      guard case .client(_, _, .submit(let submission), _) = event else { return note(.terms, "job \(job.id) because of \(event)") }
      let tenant = submission.tenant.isEmpty ? JobTerms.defaultTenant : submission.tenant
      expect(job.terms.tenant == tenant && job.key == submission.key, .terms, "\(submission) becomes a job of \(job.terms.tenant)")
    case .released(let task, let failures):
      if let sample = books.openSample(task), failures > sample.failures { terms.backingOff.insert(task) }
    case .finished(let job, let state, _):
      if state == .expired { checkExpiry(job, at: now) }
      terms.dated.remove(job)
    case .retried(let job, _):
      guard case .client(_, _, .retry(job, _), _) = event else { return note(.terms, "a retry of \(job) because of \(event)") }
      if terms.contracts[job]?.deadlineUnix != nil { terms.dated.insert(job) }
    case .chosen(let job, let cancelled):
      guard case .client(_, _, .release(job, let keep), _) = event, let samples = books.jobs[job]?.samples else {
        return note(.holds, "samples of \(job) are chosen because of \(event)")
      }
      let unwanted = samples.indices.filter { index in
        let sample = samples[index]
        return sample.error == nil && !sample.isCancelled && sample.outcomes.count < stageCount && !keep.contains(UInt32(index))
      }
      expect(Set(cancelled.map(Int.init)) == Set(unwanted), .holds, "of \(job) only \(keep) go on, and \(cancelled) are cancelled")
      terms.released.insert(job)
    default: break
    }
  }

  /// No job is open whose deadline has passed.
  mutating func checkDeadlines(at now: Int64) {
    for job in terms.dated {
      guard let contract = terms.contracts[job], contract.deadline <= now, let known = books.jobs[job], known.ending == nil else {
        continue
      }
      note(.deadlines, "job \(job) goes on \(now - contract.deadline) ms after its deadline")
    }
  }

  private mutating func checkExpiry(_ id: JobID, at now: Int64) {
    guard let contract = terms.contracts[id], let job = books.jobs[id], contract.deadlineUnix != nil else {
      return note(.deadlines, "job \(id) expires, and has no deadline")
    }
    let slowest = job.samples.filter { $0.error == nil && !$0.isCancelled }.map { longestWork(job, from: $0) }.max() ?? 0
    let isHopeless = Double(now) + Self.certainty * Self.measuringError * slowest > Double(contract.deadline)
    expect(isHopeless, .deadlines, "job \(id) expires, and had \(contract.deadline - now) ms for \(slowest) ms")
  }

  // MARK: Assignments

  mutating func checkTerms(_ order: AssignOrder, to holder: PeerID, at now: Int64) {
    let task = order.task.task
    guard let job = books.jobs[task.job], let contract = terms.contracts[task.job], let lease = leases[task], !lease.isTrial else { return }
    terms.backingOff.remove(task)
    if let hold = contract.holdAfter, Int(task.stage) > hold {
      expect(terms.released.contains(task.job), .holds, "\(order.task) is leased, and its job is held after stage \(hold)")
    }
    if contract.deadline != .max, let work = shortestWork(job, task), Double(now) + Self.certainty * work > Double(contract.deadline) {
      note(.deadlines, "\(order.task) is begun, takes \(Int(work)) ms at least, and has \(contract.deadline - now) ms")
    }
    if terms.hasClasses { checkClasses(order, contract) }
    if !plan.rivals.isEmpty { race(contract.tenant, steps: job.record.options[Int(task.stage)].steps ?? 0) }
  }

  /// What a sample takes at least; `nil`: the broker cannot know.
  private func shortestWork(_ job: JobSnapshot, _ task: TaskID) -> Double? {
    var work = 0.0
    for stage in Int(task.stage)..<stageCount {
      guard terms.measured.contains(stage), let step = terms.shortestStep[stage] else { return nil }
      let done = stage == Int(task.stage) ? job.samples[Int(task.sample)].checkpoint?.step ?? 0 : 0
      work += step * Double((job.record.options[stage].steps ?? 0) - done)
    }
    return work
  }

  /// While nothing waits for the next stage, the highest class goes first.
  private mutating func checkClasses(_ order: AssignOrder, _ contract: Terms.Contract) {
    var better: TaskID?
    for job in books.jobs.values where job.ending == nil {
      guard let other = terms.contracts[job.record.id] else { continue }
      for (index, sample) in job.samples.enumerated() where sample.error == nil && !sample.isCancelled && !sample.isLeased {
        let task = TaskID(job: job.record.id, sample: UInt32(index), stage: UInt32(sample.outcomes.count))
        if task.stage == order.task.task.stage + 1 { return }
        let isHeld = other.holdAfter.map { Int(task.stage) == $0 + 1 && !terms.released.contains(task.job) } ?? false
        if task.stage == order.task.task.stage, other.submission.priority > contract.submission.priority, !isHeld,
          !terms.backingOff.contains(task)
        {
          better = task
        }
      }
    }
    if let better { note(.priorities, "\(order.task) of class \(contract.submission.priority) is leased before \(better)") }
  }

  // MARK: Shares

  private mutating func race(_ tenant: String, steps: UInt32) {
    guard terms.measured.contains(0) else { return }
    for rival in plan.rivals {
      let isWaiting = books.jobs.contains { id, job in
        terms.contracts[id]?.tenant == rival && job.samples.contains { !$0.isLeased && $0.outcomes.isEmpty }
      }
      if !isWaiting { return checkRace() }
    }
    terms.race.work[tenant, default: 0] += Double(steps)
  }

  private mutating func checkRace() {
    let work = terms.race.work
    guard plan.rivals.count == 2, work.values.reduce(0, +) >= Self.stepsOfARace else { return }
    let ratio = terms.race.ratio(limits.weights, plan.rivals[0], plan.rivals[1])
    let weights = limits.weights
    terms.race = Terms.Race()
    expect(abs(ratio - 1) <= Self.shareError, .shares, "\(work) steps were given by the weights \(weights)")
  }

  /// A race that somebody won is judged; that none was, is no fault.
  mutating func checkEnd() { checkRace() }
}
