import Digests
import Logging
import Wire

/// Finding out who computes wrongly.
extension BrokerCore {
  /// The stage was finished before: the second result has to be the same, byte for byte, in one numerics class.
  mutating func compare(_ result: TaskResult, with outcome: StageOutcome, from worker: Worker) {
    guard let digest = ContentDigest(result.digest) else { return }
    let ref = result.task
    guard outcome.numerics == worker.hello.numerics, outcome.digest != digest else { return }
    log(
      .critical,
      """
      \(ref) ran twice in numerics class \(outcome.numerics) with different results: \(hex(outcome.digest.bytes)) is kept, \
      \(hex(result.digest)) of worker \(worker.hello.name) is dropped; one of the machines computes wrongly
      """)
    let claim = Quarantine.Claim(worker: worker.identity, digest: digest)
    if quarantine.dispute(ref.task, outcome.digest, claim, numerics: outcome.numerics) {
      unsettledStages.insert(worker.stage)
    }
  }

  /// Gives disputed tasks to workers that are no party.
  mutating func dispatchTrials(_ stage: StageKey) {
    guard !quarantine.disputes.isEmpty else { return }
    for task in quarantine.open(stage: stage.stage) {
      guard let job = jobs[task.job], job.samples[Int(task.sample)].stage > stage.stage else {
        quarantine.drop(task)
        continue
      }
      guard job.pipeline == stage.pipeline, let dispute = quarantine.disputes[task] else { continue }
      let sample = job.samples[Int(task.sample)]
      let bytes = stage.stage == 0 ? 0 : sample.outcomes[stage.stage - 1].bytes
      let worker = workers.choose(
        stage, backlog: 0, need: { _ in (bytes, false) },
        // A party that was started again would confirm itself.
        where: { worker in
          worker.hello.numerics == dispute.numerics && !dispute.claims.contains { $0.worker.name == worker.hello.name }
        })
      guard let worker else { continue }
      let ref = TaskRef(task, attempt: dispute.attempt)
      quarantine.beginTrial(task)
      let lease = Lease(
        attempt: ref.attempt, holder: .worker(worker.peer), bytes: bytes, resumeStep: 0, lastProgress: now, startedUnix: unixNow,
        workerName: worker.hello.name, numerics: worker.hello.numerics)
      lease.trialStep = 0
      leases[task] = lease
      workers.update(worker) {
        $0.leases.insert(task)
        $0.bytesHeld += bytes
        $0.lastSent = now
      }
      log(.notice, "\(ref) is repeated by worker \(worker.hello.name), to find out whose result is wrong")
      let input = stage.stage == 0 ? nil : TensorKey(job: task.job, sample: task.sample, stage: task.stage - 1)
      actions.append(
        .assign(
          worker.peer,
          AssignOrder(
            task: ref, label: sample.label, seed: sample.seed, options: job.options, truncated: job.truncated, input: input,
            checkpointStep: nil)))
    }
  }

  /// The result of a trial.
  mutating func judge(_ result: TaskResult, by worker: Worker) {
    let task = result.task.task
    guard let digest = ContentDigest(result.digest) else { return abandonTrial(task) }
    dropLease(task)
    guard let guilty = quarantine.settle(task, digest) else {
      return log(
        .critical, "\(task) has three different results in numerics class \(worker.hello.numerics); none of the machines can be trusted")
    }
    isolate(guilty, "worker \(worker.hello.name) and another agree on \(task), and this one does not")
  }

  /// A worker gets no work any more, and what it does is not believed.
  private mutating func isolate(_ identity: WorkerIdentity, _ reason: String) {
    // Several of its results may have been in dispute.
    guard quarantine[identity] == nil else { return }
    let record = QuarantineRecord(name: identity.name, boot: identity.boot, reason: clip(reason, 200))
    quarantine.insert(record)
    actions.append(.persist(.quarantined(name: record.name, boot: record.boot, reason: record.reason)))
    if let oldest = quarantine.pardonOldest(beyond: limits.maxQuarantined) {
      actions.append(.persist(.pardoned(name: oldest.name, boot: oldest.boot)))
      if let peer = workers.peer(of: oldest) { workers.update(peer) { $0.isQuarantined = false } }
    }
    log(.critical, "worker \(identity.name) is quarantined: \(reason); restart it once its machine is repaired")
    guard let peer = workers.peer(of: identity), let worker = workers[peer] else { return }
    workers.update(peer) { $0.isQuarantined = true }
    for task in worker.leases.sorted(by: TaskID.isOlder) {
      takeBack(task)
    }
  }

  /// A trial's worker failed, left or was lost.
  mutating func abandonTrial(_ task: TaskID) {
    dropLease(task)
    quarantine.abandonTrial(task)
    if let job = jobs[task.job] { unsettledStages.insert(StageKey(pipeline: job.pipeline, stage: Int(task.stage))) }
  }
}
