import Wire

/// What clients are told. The codec cuts lists that are too long for one message.
enum StatusReport {
  static let maxDetails = 1_000
  static let maxJobs = 1_000
  /// Labels that take more would leave no room for the rest.
  private static let maxLabelBytes = 32 << 10

  static func brief(_ job: Job, _ pipeline: PipelineInfo) -> JobStatus {
    var status = JobStatus(
      job: job.id, state: job.state, pipeline: pipeline.name, digest: pipeline.digest, samples: UInt32(job.samples.count),
      stages: [], submittedUnixMilliseconds: job.submittedUnixMilliseconds, finishedUnixMilliseconds: job.ending?.unixMilliseconds,
      truncated: job.truncated, tenant: job.terms.tenant, priority: job.terms.priority,
      deadlineUnixMilliseconds: job.terms.deadlineUnixMilliseconds,
      holdAfter: job.isHolding ? job.terms.holdAfter.map { pipeline.stages[Int($0)].name } : nil,
      reason: job.state == .expired ? "it could not be done by its deadline" : nil)
    for (index, tally) in job.tallies.enumerated() {
      status.stages.append(
        StageStatus(
          stage: pipeline.stages[index].name, queued: tally.waiting, running: tally.leased, done: tally.done, failed: tally.failed,
          stepsDone: tally.stepsDone, stepsTotal: UInt64(job.steps(ofStage: index)) * UInt64(job.samples.count), held: tally.held))
    }
    return status
  }

  /// With options, labels and samples.
  static func full(_ job: Job, _ pipeline: PipelineInfo) -> JobStatus {
    var status = brief(job, pipeline)
    status.options = job.options
    if pipeline.labels.reduce(0, { $0 + $1.utf8.count + 4 }) <= maxLabelBytes { status.labels = pipeline.labels }
    status.details = job.samples.prefix(maxDetails).enumerated().map { index, sample in
      detail(of: sample, index: UInt32(index), pipeline)
    }
    return status
  }

  /// With the samples that failed for good, and no others.
  static func dead(_ job: Job, _ pipeline: PipelineInfo) -> JobStatus {
    var status = brief(job, pipeline)
    status.details = job.samples.enumerated().filter { $0.element.phase == .failed }.prefix(maxDetails).map { index, sample in
      detail(of: sample, index: UInt32(index), pipeline)
    }
    return status
  }

  /// - Parameter withTasks: name the tasks that a worker is in quarantine for, which may be anyone's.
  static func workers(_ workers: [Worker], _ quarantine: Quarantine, at now: Int64, withTasks: Bool) -> [WorkerStatus] {
    workers.map { worker in
      let hello = worker.hello
      return WorkerStatus(
        name: hello.name, stage: hello.stage, pipeline: hello.pipeline.name, digest: hello.pipeline.digest, numerics: hello.numerics,
        slots: hello.slots, running: min(hello.slots, UInt32(worker.leases.count)), finished: worker.finished,
        stepMilliseconds: worker.stepMilliseconds,
        silentMilliseconds: UInt32(clamping: now - worker.lastHeard), host: hello.host, pid: hello.pid,
        quarantine: quarantine[worker.identity].map { withTasks ? $0 : "it computed wrongly" })
    }
  }

  private static func detail(of sample: Sample, index: UInt32, _ pipeline: PipelineInfo) -> SampleStatus {
    let state: JobState =
      switch sample.phase {
      case .waiting: sample.attempt > 0 || sample.stage > 0 ? .running : .queued
      case .leased: .running
      case .held: .held
      case .done: .done
      case .failed: .failed
      case .cancelled: .cancelled
      }
    return SampleStatus(
      index: index, label: sample.label, seed: sample.seed, stage: sample.phase == .done ? nil : pipeline.stages[sample.stage].name,
      state: state, attempts: AttemptNumber.count(sample.attempt), error: sample.error)
  }
}
