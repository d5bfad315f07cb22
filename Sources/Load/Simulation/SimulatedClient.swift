import Wire
import Worker

/// A client with one job: it submits until it is told that the job is accepted, watches it to its end, lets go on what is held, has failed
/// samples tried again, and fetches every image. What has no answer it asks again, on a new connection, as `WeirClient` does.
struct SimulatedClient {
  private enum Phase { case submitting, watching, retrying, fetching, done }

  private struct Question {
    var request: ClientRequest
    var sent: Int64
    var patience: Int64
  }

  static let patience: Int64 = 500
  static let longestPatience: Int64 = 4_000
  /// Visitors' requests are numbered from here.
  static let visitorsRequests: UInt64 = 1 << 40

  let plan: SimulationPlan.Client
  private var phase = Phase.submitting
  private(set) var job: JobID?
  private var status: JobStatus?
  private var missing: Set<UInt32> = []
  /// Samples whose image the broker's disk lost.
  private(set) var lost: Set<UInt32> = []
  private var wantsCancel: Bool
  private var wantsForgery: Bool
  private var retriesLeft: Int
  /// When it lets go on what it chose, once it has seen it.
  private var releaseTime: Int64?
  private var hasReleased = false
  private var questions: [UInt64: Question] = [:]
  private var nextRequest: UInt64 = 1
  private var notBefore: Int64
  private(set) var complaint: String?

  var isDone: Bool { phase == .done }
  var state: JobState? { status?.state }

  init(_ plan: SimulationPlan.Client) {
    self.plan = plan
    wantsCancel = plan.cancelTime != nil
    wantsForgery = plan.forges
    retriesLeft = plan.retries
    notBefore = plan.start
  }

  /// A new process of the same person, who remembers the key.
  mutating func restart(at now: Int64) {
    guard phase != .done else { return }
    let requests = nextRequest
    self = SimulatedClient(plan)
    nextRequest = requests
    notBefore = now
  }

  /// When it next has something to do.
  func nextWake(after now: Int64) -> Int64? {
    guard phase != .done else { return nil }
    var wake = questions.values.map { $0.sent + $0.patience }.min() ?? max(notBefore, now + 1)
    if wantsCancel, job != nil, let time = plan.cancelTime { wake = min(wake, max(time, now + 1)) }
    if !hasReleased, let releaseTime { wake = min(wake, max(releaseTime, now + 1)) }
    return max(wake, notBefore, now + 1)
  }

  /// What to send, and whether on a new connection.
  mutating func wake(at now: Int64) -> (requests: [(UInt64, ClientRequest)], reconnects: Bool) {
    guard phase != .done, now >= notBefore else { return ([], false) }
    var requests: [(UInt64, ClientRequest)] = []
    let late = questions.filter { now >= $0.value.sent + $0.value.patience }.keys.sorted()
    // A new connection loses what the old one was asked, so everything is asked again.
    for number in late.isEmpty ? [] : questions.keys.sorted() {
      guard let question = questions[number] else { continue }
      requests.append((number, question.request))
      questions[number]?.sent = now
      questions[number]?.patience = min(2 * question.patience, Self.longestPatience)
    }
    if wantsCancel, let job, let time = plan.cancelTime, now >= time {
      wantsCancel = false
      requests.append(ask(.cancel(job), now))
    }
    if wantsForgery, job != nil {
      wantsForgery = false
      var other = plan.submission
      other.runs[0].seed &+= 1
      requests.append(ask(.submit(other), now))
    }
    if !hasReleased, let job, let releaseTime, now >= releaseTime {
      hasReleased = true
      requests.append(ask(.release(job, keep: plan.keep), now))
    }
    if questions.values.allSatisfy({ isAside($0.request) }), let next = next() {
      requests.append(ask(next, now))
    }
    return (requests, !late.isEmpty)
  }

  /// It does not keep the client from going on.
  private func isAside(_ request: ClientRequest) -> Bool {
    switch request {
    case .cancel, .release: true
    case .submit(let submission): submission != plan.submission
    default: false
    }
  }

  private func next() -> ClientRequest? {
    switch (phase, job) {
    case (.watching, let job?): .watch(job)
    case (.retrying, let job?): .retry(job, samples: [])
    case (.fetching, let job?): missing.min().map { .fetch(job, sample: $0) }
    case (.done, _): nil
    default: .submit(plan.submission)
    }
  }

  private mutating func ask(_ request: ClientRequest, _ now: Int64) -> (UInt64, ClientRequest) {
    defer { nextRequest += 1 }
    questions[nextRequest] = Question(request: request, sent: now, patience: Self.patience)
    return (nextRequest, request)
  }

  mutating func receive(_ request: UInt64, _ reply: ClientReply, at now: Int64) {
    guard let question = questions[request] else { return }
    if case .event(let status) = reply {
      questions[request]?.sent = now
      questions[request]?.patience = Self.patience
      if status.state.isFinal { questions[request] = nil }
      return look(at: status, at: now)
    }
    questions[request] = nil
    switch reply {
    case .accepted where isAside(question.request): complaint = "a key was given to something else"
    case .accepted(let acceptance):
      if let job, job != acceptance.job { complaint = "one key, two jobs: \(job) and \(acceptance.job)" }
      job = acceptance.job
      if phase == .submitting { phase = .watching }
    case .image(let image): look(at: image)
    case .refused(let refusal): accept(refusal, of: question.request, at: now)
    case .cancelled(let counts):
      if let status, counts.queued + counts.stopped + counts.tooLate != status.samples {
        complaint = "a cancellation of \(counts) samples, of \(status.samples)"
      }
    case .released(let choice):
      if Int(choice.kept) != plan.keep.count { complaint = "\(choice) samples go on, of \(plan.keep)" }
    case .retried: if phase == .retrying { phase = .watching }
    case .event, .jobs, .workers, .located, .history: complaint = "\(question.request) was answered with \(reply)"
    }
  }

  private mutating func accept(_ refusal: Refusal, of request: ClientRequest, at now: Int64) {
    switch (request, refusal.code) {
    case (.submit, .invalid) where isAside(request): break
    case (_, .overloaded), (.submit, .notReady):
      if case .cancel = request { wantsCancel = true }
      if case .release = request { hasReleased = false }
      guard let wait = refusal.retryAfterMilliseconds else {
        complaint = "refused without a time to ask again: \(refusal)"
        return
      }
      notBefore = now + Int64(wait)
    case (.submit, .tooLate) where plan.submission.deadlineMilliseconds != nil: phase = .done
    // It ended, was let go on by an earlier life of this client, or failed meanwhile: whoever watches will see.
    case (.release, .invalid): break
    case (.retry, .invalid): phase = .watching
    case (.fetch(_, let sample, _), .notFound) where refusal.reason.contains("disk is damaged"):
      lost.insert(sample)
      missing.remove(sample)
      if missing.isEmpty { phase = .done }
    default: complaint = "\(request) was refused: \(refusal)"
    }
  }

  private mutating func look(at status: JobStatus, at now: Int64) {
    guard status.job == job else {
      complaint = "the status of \(status.job) instead of \(job as Any)"
      return
    }
    guard phase == .watching else { return }
    self.status = status
    if status.holdAfter != nil, releaseTime == nil, status.stages.contains(where: { $0.held > 0 }) { releaseTime = now + plan.thinkTime }
    guard status.state.isFinal else { return }
    if status.state == .failed, retriesLeft > 0 {
      retriesLeft -= 1
      phase = .retrying
      return
    }
    missing = Set(status.details.filter { $0.state == .done }.map(\.index))
    if status.details.count != status.samples { complaint = "a final status of \(status.details.count) samples of \(status.samples)" }
    if status.state == .cancelled, plan.cancelTime == nil { complaint = "job \(status.job) was cancelled by nobody" }
    if status.state == .expired, plan.submission.deadlineMilliseconds == nil {
      complaint = "job \(status.job) expired, and has no deadline"
    }
    // Of a failed job samples can be tried again that were not chosen.
    let wanted = plan.submission.holdAfter.isEmpty ? Set(0..<status.samples) : Set(plan.keep)
    if status.state == .done, missing != wanted, plan.retries == 0 || !missing.isSuperset(of: wanted) {
      complaint = "job \(status.job) is done, but \(missing) instead of \(wanted)"
    }
    phase = missing.isEmpty ? .done : .fetching
  }

  private mutating func look(at image: FinishedImage) {
    guard image.job == job, missing.contains(image.sample) else {
      if image.job != job { complaint = "an image of \(image.job) instead of \(job as Any)" }
      return
    }
    if image.tensor.digest != image.digest { complaint = "image \(image.sample) of \(image.job) does not fit its digest" }
    missing.remove(image.sample)
    if missing.isEmpty { phase = .done }
  }
}
