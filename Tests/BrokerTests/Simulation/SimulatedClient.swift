import Wire

@testable import Broker

/// A client with one job: it submits until it is told that the job is accepted, waits for its end, and fetches every image.
struct SimulatedClient {
  private enum Phase { case submitting, waiting, fetching, done }

  let submission: Submission
  let pipeline: PipelineInfo
  /// It wants its job cancelled some time after this.
  let cancelTime: Int64?
  private(set) var peer: PeerID
  private var phase = Phase.submitting
  private(set) var job: JobID?
  private(set) var status: JobStatus?
  private var missing: Set<UInt32> = []
  private var lastAsked: Int64 = -10_000
  private var asked = 0
  private var nextRequest: UInt64 = 0
  private(set) var complaints: [String] = []

  var isDone: Bool { phase == .done }

  init(_ submission: Submission, pipeline: PipelineInfo, cancelTime: Int64?, peer: PeerID) {
    self.submission = submission
    self.pipeline = pipeline
    self.cancelTime = cancelTime
    self.peer = peer
  }

  mutating func reconnect(as peer: PeerID) { self.peer = peer }

  mutating func tick(_ random: inout SplitMix64, now: Int64) -> [(request: UInt64, ClientRequest)] {
    guard phase != .done, now - lastAsked >= 150 else { return [] }
    lastAsked = now
    var requests: [ClientRequest] = []
    switch (phase, job) {
    case (.waiting, let job?):
      if let cancelTime, now >= cancelTime, random.chance(0.5) { requests.append(.cancel(job)) }
      requests.append(random.chance(0.5) ? .watch(job) : .status(job, limit: 0))
    case (.fetching, let job?):
      for sample in missing.sorted().prefix(3) { requests.append(.fetch(job, sample: sample)) }
    default: requests.append(.submit(submission))
    }
    return requests.map {
      nextRequest += 1
      return (nextRequest, $0)
    }
  }

  mutating func receive(_ reply: ClientReply) {
    switch reply {
    case .accepted(let acceptance):
      if let job, job != acceptance.job { complaints.append("one key, two jobs: \(job) and \(acceptance.job)") }
      job = acceptance.job
      if phase == .submitting { phase = .waiting }
    case .event(let status): look(at: status)
    case .jobs(let jobs): if let status = jobs.first { look(at: status) }
    case .image(let image): look(at: image)
    case .refused(let refusal):
      if refusal.code == .notFound || refusal.code == .invalid { complaints.append("refused: \(refusal)") }
    case .cancelled(let counts):
      let total = counts.queued + counts.stopped + counts.tooLate
      if total > submission.runs[0].count { complaints.append("a cancellation of \(total) samples") }
    case .workers, .located: break
    }
  }

  private mutating func look(at status: JobStatus) {
    guard status.job == job, phase == .waiting, status.state.isFinal, !status.details.isEmpty else { return }
    self.status = status
    missing = Set(status.details.filter { $0.state == .done }.map(\.index))
    if status.state == .failed { complaints.append("job \(status.job) failed: \(status.details.compactMap(\.error))") }
    if status.state == .cancelled, cancelTime == nil { complaints.append("job \(status.job) was cancelled by nobody") }
    if status.state == .done, missing.count != Int(submission.runs[0].count) {
      complaints.append("job \(status.job) is done but not all of it")
    }
    phase = missing.isEmpty ? .done : .fetching
  }

  private mutating func look(at image: FinishedImage) {
    guard image.job == job, let status else { return }
    let expected = Oracle.image(label: image.label, seed: image.seed, pipeline: pipeline, options: status.options)
    if image.tensor != expected || image.seed != submission.runs[0].seed &+ UInt64(image.sample) {
      complaints.append("image \(image.sample) of \(image.job) is wrong")
    }
    missing.remove(image.sample)
    if missing.isEmpty { phase = .done }
  }
}
