import Logging
import Wire
import ZeroMQ

/// Who may do what, if the broker works with keys.
extension BrokerCore {
  /// Goes by another list from now on: whoever it does not name any more has no work and hears nothing from here on.
  mutating func goBy(_ list: AccessList) {
    access = list
    limits = configured
    for (tenant, terms) in list.tenants {
      if let weight = terms.weight { limits.weights[tenant] = weight }
      if let count = terms.maxOpenTasks { limits.maxOpenTasksByTenant[tenant] = count }
    }
    for worker in workers.all {
      guard let reason = objection(to: list.principal(of: worker.key), serving: worker.hello.stage) else { continue }
      refuse(worker.peer, reason)
    }
    let cutOff = watches.removeAll { job, watcher in
      guard let tenant = list.principal(of: watcher.key).tenantInView else { return false }
      return jobs[job]?.terms.tenant != tenant
    }
    for (job, watcher) in cutOff {
      let isNobody = list.principal(of: watcher.key) == .nobody
      actions.append(.reply(watcher.peer, request: watcher.request, .refused(isNobody ? Self.unknownKey : Self.noJob(job))))
    }
  }

  /// Whether an image that waits to be sent may still go to who asked for it.
  func maySend(_ order: ImageOrder) -> Bool {
    guard let tenant = access?.principal(of: order.asker).tenantInView else { return true }
    return jobs[order.key.job]?.terms.tenant == tenant
  }

  // MARK: Clients

  /// What a client is told of a job that is not there, and of one that is another tenant's.
  static func noJob(_ id: JobID) -> Refusal { Refusal(.notFound, "no job \(id); it was never submitted here, or is forgotten") }

  private static var unknownKey: Refusal {
    Refusal(.invalid, "this key is not on the broker's list: have its operator add it to the --allow file")
  }

  /// Why the sender may not ask for this, if it may not.
  mutating func refusal(of request: ClientRequest, from peer: PeerID) -> Refusal? {
    switch principal {
    case .anyone: return nil
    case .nobody:
      noteRefusal("it is not on the list")
      return Self.unknownKey
    case .worker:
      if case .locate = request { return nil }
      noteRefusal("it is a worker's, and asked for what only clients may")
      return Refusal(.invalid, "this key is a worker's, which may ask for its port and for nothing else: use a client's key")
    case .client(let tenant, let isAdmin):
      if let reason = objection(to: peer) { return Refusal(.invalid, reason) }
      if case .submit(let submission) = request, !submission.tenant.isEmpty, submission.tenant != tenant {
        noteRefusal("it is tenant '\(tenant)', and tried to submit for another")
        return Refusal(
          .invalid,
          "this key submits for tenant '\(tenant)', and the job names '\(clip(submission.tenant, 100))': leave the tenant out of the job")
      }
      guard !isAdmin, let id = request.job, let job = jobs[id], job.terms.tenant != tenant else { return nil }
      noteRefusal("it is tenant '\(tenant)', and asked for job \(id) of another")
      return Self.noJob(id)
    }
  }

  // MARK: Workers

  /// Why the sender of a worker's message is sent away, if it is.
  mutating func objection(to message: WorkerMessage, from peer: PeerID) -> String? {
    guard access != nil else { return nil }
    if let worker = workers[peer], worker.key != sender.key { miss(peer, because: "another has taken its place") }
    let stage: String? = if case .hello(let hello) = message { hello.stage } else { nil }
    guard let reason = objection(to: principal, serving: stage) ?? objection(to: peer) else { return nil }
    noteRefusal(reason)
    return reason
  }

  private func objection(to principal: Principal, serving stage: String?) -> String? {
    switch principal {
    case .anyone: return nil
    case .nobody: return "this key is not on the broker's list: have its operator add it to the --allow file"
    case .client: return "this key is a client's: use a worker's"
    case .worker(let stages):
      guard let stage, let stages, !stages.contains(stage) else { return nil }
      let listed = stages.sorted().joined(separator: ", ")
      return "this key may serve \(clip(listed, 200)), and not \(clip(stage, 100)): have the broker's operator add it to the --allow file"
    }
  }

  // MARK: Both

  /// A name that a peer chose for itself is free for others once its connection is gone: they would be sent what is meant for it.
  private func objection(to peer: PeerID) -> String? {
    peer.isChosen ? "a broker with keys knows its peers by these: set no routing id on the socket" : nil
  }

  /// For the operator.
  private mutating func noteRefusal(_ what: String) {
    let key = sender.key?.text ?? "none"
    if let line = refusals.line("refused \(sender.address), key \(key): \(what)", at: now) { log(.warning, line) }
  }
}

extension ClientRequest {
  /// The job that it is about.
  fileprivate var job: JobID? {
    switch self {
    case .status(let job, _): job
    case .watch(let job), .fetch(let job, _, _), .cancel(let job), .release(let job, _), .retry(let job, _), .history(let job, _): job
    case .submit, .dead, .workers, .locate: nil
    }
  }
}
