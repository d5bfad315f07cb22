import Wire

/// Jobs whose samples wait for somebody's choice, or failed and are given another chance.
extension BrokerCore {
  mutating func releaseHold(_ id: JobID, keep: [UInt32]) throws(Refusal) -> Choice {
    let (job, _) = try find(id)
    guard job.terms.holdAfter != nil else {
      throw Refusal(.invalid, "job \(id) holds nothing: only a job submitted with a stage to hold after does")
    }
    let kept = Set(keep)
    guard !kept.isEmpty else { throw Refusal(.invalid, "name at least one sample to keep; to keep none, cancel job \(id)") }
    if let stranger = kept.sorted().last, Int(stranger) >= job.samples.count {
      throw Refusal(.notFound, "job \(id) has no sample \(stranger); it has \(job.samples.count), counted from 0")
    }
    guard job.isHolding, job.ending == nil else {
      // Asked again, because the first answer was lost: the same answer.
      let now = job.samples.indices.filter { job.samples[$0].phase != .cancelled && job.samples[$0].phase != .failed }.map(UInt32.init)
      guard !job.isHolding, kept.isSuperset(of: now) else {
        throw Refusal(.invalid, "job \(id) was \(job.isHolding ? "ended" : "released") before; what was not kept then cannot go on")
      }
      return Choice(kept: UInt32(kept.count), cancelled: UInt32(job.samples.count - kept.count))
    }
    for (index, sample) in job.samples.enumerated() where sample.phase == .leased && !kept.contains(UInt32(index)) {
      revokeLease(TaskID(job: id, sample: UInt32(index), stage: UInt32(sample.stage)))
    }
    let (waiting, cancelled) = jobs.update(id) { $0.choose(kept) }
    actions.append(.persist(.chosen(id, cancelled: cancelled.map(UInt32.init))))
    if let job = jobs[id] {
      for index in waiting { enqueue(job, index) }
      for stage in 0..<job.stageCount { purge(StageKey(pipeline: job.pipeline, stage: stage)) }
    }
    watches.noteChange(id, interval: limits.eventMilliseconds)
    finishIfComplete(id)
    return Choice(kept: UInt32(kept.count), cancelled: UInt32(cancelled.count))
  }

  /// - Returns: how many samples are tried again.
  mutating func retry(_ id: JobID, _ asked: [UInt32]) throws(Refusal) -> UInt32 {
    let (job, _) = try find(id)
    if let stranger = asked.first(where: { Int($0) >= job.samples.count }) {
      throw Refusal(.notFound, "job \(id) has no sample \(stranger); it has \(job.samples.count), counted from 0")
    }
    if let ending = job.ending, ending.state != .failed {
      throw Refusal(.invalid, "job \(id) has no failed samples that could go on: it is over")
    }
    let failed = job.samples.indices.filter { job.samples[$0].phase == .failed }
    let chosen = asked.isEmpty ? failed : failed.filter { asked.contains(UInt32($0)) }
    if chosen.isEmpty { return 0 }
    let needed = chosen.reduce(0) { $0 + job.stageCount - job.samples[$1].stage }
    try checkRoom(for: needed, job.terms.tenant, job.pipeline)
    let tasks = chosen.map { index in
      let sample = job.samples[index]
      return TaskRef(TaskID(job: id, sample: UInt32(index), stage: UInt32(sample.stage)), attempt: sample.attempt)
    }
    actions.append(.persist(.retried(id, tasks)))
    jobs.update(id) { job in for index in chosen { job.retry(index) } }
    if let job = jobs[id] {
      deadlines.insert(job)
      for index in chosen { enqueue(job, index) }
    }
    watches.noteChange(id, interval: limits.eventMilliseconds)
    return UInt32(chosen.count)
  }
}
