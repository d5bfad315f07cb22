import Wire

/// What simulations and tests check after every event; empty as long as the core has no bug.
extension BrokerCore {
  /// Tables that contradict themselves or each other, or remember more than there is work.
  package func audit() -> [String] {
    var faults: [String] = []
    var openTasks = 0
    var openSamples = 0
    var repeated = 0
    var tenants: [String: Int] = [:]
    for job in jobs.all {
      auditJob(job, &faults)
      // Samples that began anew were accepted once.
      let again = job.samples.reduce(0) { $0 + ($1.isOpen && AttemptNumber.isRestarted($1.attempt) ? job.stageCount - $1.stage : 0) }
      repeated += again
      tenants[job.terms.tenant, default: 0] += job.openTasks - again
      openTasks += job.openTasks
      openSamples += job.openSamples
    }
    auditBacklog(&faults)
    if openTasks != jobs.openTasks { faults.append("\(jobs.openTasks) tasks are counted open, and \(openTasks) are") }
    if openTasks - repeated > limits.maxOpenTasks { faults.append("\(openTasks) tasks are open, and \(limits.maxOpenTasks) allowed") }
    for (tenant, tasks) in tenants where tasks > limits.maxOpenTasksPerTenant {
      faults.append("tenant \(tenant) has \(tasks) open tasks, and \(limits.maxOpenTasksPerTenant) are allowed")
    }
    var held = 0
    for worker in workers.all {
      held += worker.leases.count
      auditCredit(of: worker, &faults)
      if worker.crew?.workers.count(where: { $0 === worker }) != 1 { faults.append("worker \(worker.hello.name) is not in its crew once") }
    }
    if let access {
      for worker in workers.all where access.principal(of: worker.key).mayNotServe(worker.hello.stage) {
        faults.append("worker \(worker.hello.name) serves \(worker.hello.stage), and is not on the list for it")
      }
    }
    if held != leases.all.count(where: { $0.value.worker != nil }) { faults.append("leases of workers that do not know of them") }
    let trials = leases.all.count { $0.value.isTrial }
    if leases.count > openSamples + trials { faults.append("\(leases.count) leases for \(openSamples) open samples") }
    for table in tables where table.count > table.bound { faults.append("\(table.name): \(table.count), and \(table.bound) are allowed") }
    return faults
  }

  private func auditBacklog(_ faults: inout [String]) {
    var backlog = Backlog()
    var stages: Set<StageKey> = []
    var openTasks: [String: Int] = [:]
    for job in jobs.all {
      if job.openTasks > 0 { openTasks[job.terms.tenant, default: 0] += job.openTasks }
      for stage in 0..<job.stageCount {
        let key = StageKey(pipeline: job.pipeline, stage: stage)
        stages.insert(key)
        let work = job.work(inStage: stage)
        if work.passes < 0 { faults.append("job \(job.id) has \(work.passes) passes to do in stage \(stage)") }
        if work != Backlog.Work() { backlog.add(work, key, job.share) }
      }
    }
    if openTasks != jobs.openTasksByTenant { faults.append("tenants are thought to have \(jobs.openTasksByTenant), and have \(openTasks)") }
    for stage in stages.sorted() where jobs.backlog.shares(stage) != backlog.shares(stage) {
      faults.append("the backlog of \(stage) is thought to be \(jobs.backlog.shares(stage)), and is \(backlog.shares(stage))")
    }
  }

  private func auditJob(_ job: Job, _ faults: inout [String]) {
    var tallies = [Job.StageTally](repeating: Job.StageTally(), count: job.stageCount)
    var open = 0
    var openTasks = 0
    for (index, sample) in job.samples.enumerated() {
      for stage in 0..<sample.stage {
        tallies[stage].done += 1
        tallies[stage].stepsDone += UInt64(job.steps(ofStage: stage))
      }
      if sample.phase != .done { tallies[sample.stage].stepsDone += UInt64(sample.step) }
      if sample.isOpen { tallies[sample.stage].openSteps += UInt64(sample.step) }
      switch sample.phase {
      case .waiting: tallies[sample.stage].waiting += 1
      case .leased: tallies[sample.stage].leased += 1
      case .failed: tallies[sample.stage].failed += 1
      case .held: tallies[sample.stage].held += 1
      case .done, .cancelled: break
      }
      let task = TaskID(job: job.id, sample: UInt32(index), stage: UInt32(sample.stage))
      if sample.isOpen {
        open += 1
        openTasks += job.stageCount - sample.stage
      }
      let lease = leases[task]
      if (sample.phase == .leased) != (lease != nil) { faults.append("\(task) is \(sample.phase), its lease \(lease?.summary ?? "none")") }
      if let lease, lease.attempt != sample.attempt { faults.append("\(task) is in attempt \(sample.attempt), its lease \(lease.summary)") }
    }
    if tallies != job.tallies { faults.append("job \(job.id) counts \(job.tallies), and has \(tallies)") }
    if open != job.openSamples || openTasks != job.openTasks {
      faults.append("job \(job.id) counts \(job.openSamples) open samples and \(job.openTasks) tasks, and has \(open) and \(openTasks)")
    }
    if (job.ending != nil) != (open == 0) { faults.append("job \(job.id) has \(open) open samples, its ending is \(job.ending as Any)") }
  }

  private func auditCredit(of worker: Worker, _ faults: inout [String]) {
    let bytes = worker.leases.reduce(UInt64(0)) { $0 + (leases[$1]?.bytes ?? 0) }
    if worker.leases.count > worker.mostCredit || bytes > worker.hello.bytes || bytes != worker.bytesHeld {
      faults.append(
        """
        worker \(worker.hello.name) has \(worker.leases.count) tasks of \(bytes) bytes, counted \(worker.bytesHeld); its credit is \
        \(worker.mostCredit) of \(worker.hello.bytes)
        """)
    }
    for task in worker.leases where leases[task]?.worker != worker.peer {
      faults.append("worker \(worker.hello.name) is thought to hold \(task), whose lease is \(leases[task]?.summary ?? "none")")
    }
  }

  /// How this core's durable state differs from what a restart would find on disk, if it has committed all it said.
  package func differences(fromDisk snapshot: Snapshot, at instant: Instant) -> [String] {
    let restored = BrokerCore(limits: limits, restoring: snapshot, at: instant)
    var faults: [String] = []
    if quarantine.reasons != restored.quarantine.reasons {
      faults.append("in quarantine are \(quarantine.reasons), on disk \(restored.quarantine.reasons)")
    }
    for id in Set(jobs.all.map(\.id)).union(restored.jobs.all.map(\.id)).sorted() {
      guard let job = jobs[id], let saved = restored.jobs[id] else {
        faults.append("job \(id) is \(jobs[id] == nil ? "on disk and nowhere else" : "not on disk")")
        continue
      }
      if job.ending != saved.ending {
        faults.append("job \(id) has the ending \(job.ending as Any), on disk \(saved.ending as Any)")
      }
      for (index, (sample, state)) in zip(job.samples, saved.samples).enumerated() where job.ending == nil {
        if sample.phase != state.phase || sample.outcomes != state.outcomes || sample.attempt != state.attempt
          || sample.failures != state.failures || sample.checkpoint != state.checkpoint || sample.error != state.error
        {
          faults.append("sample \(index) of job \(id) is \(sample), on disk \(state)")
        }
      }
    }
    return faults
  }

  /// Things remembered on behalf of work in progress; all are zero once nothing is open and nobody watches.
  package var footprint: (queued: Int, leases: Int, watches: Int) { (queues.count, leases.count, watches.count) }
}
