package import Wire

/// What `weir status` and `weir workers` print.
package enum StatusText {
  /// - Parameter now: milliseconds since 1970.
  package static func list(_ jobs: [JobStatus], now: UInt64) -> [String] {
    guard !jobs.isEmpty else { return ["no jobs"] }
    var table = Table([("JOB", .left), ("STATE", .left), ("DONE", .right), ("STAGES", .left), ("PIPELINE", .left), ("TIME", .right)])
    for job in jobs {
      let stages = job.stages.map { "\($0.stage) \(ProgressText.percent($0))%" }.joined(separator: " ")
      table.add([
        "\(job.job)", job.state.word, "\(job.finishedSamples)/\(job.samples)", stages, job.pipeline, time(job, now: now),
      ])
    }
    return table.lines
  }

  package static func job(_ job: JobStatus, now: UInt64) -> [String] {
    var head = Table([("JOB", .left), ("STATE", .left), ("DONE", .right), ("PIPELINE", .left), ("TIME", .right)])
    head.add(["\(job.job)", job.state.word, "\(job.finishedSamples)/\(job.samples)", job.pipeline, time(job, now: now)])
    var terms = ["tenant \(job.tenant)", "priority \(job.priority.word)"]
    if let deadline = job.deadlineUnixMilliseconds, !job.state.isFinal {
      let left = ProgressText.clock(Int((deadline - min(now, deadline)) / 1000 % (1 << 40)))
      terms.append("\(left) to its deadline")
    }
    if let stage = job.holdAfter { terms.append("held after \(stage)") }
    if let reason = job.reason { terms.append(reason) }
    var stages = Table([
      ("STAGE", .left), ("HELD", .right), ("QUEUED", .right), ("RUNNING", .right), ("DONE", .right), ("FAILED", .right), ("STEPS", .right),
      ("SAMPLER", .left),
    ])
    for stage in job.stages {
      let options = job.options.first { $0.stage == stage.stage }
      stages.add([
        stage.stage, "\(stage.held)", "\(stage.queued)", "\(stage.running)", "\(stage.done)", "\(stage.failed)",
        "\(stage.stepsDone)/\(stage.stepsTotal)",
        options.map(sampler) ?? "",
      ])
    }
    var lines = head.lines + ["", printable(terms.joined(separator: ", ")), ""] + stages.lines
    let failed = job.details.filter { $0.state == .failed }
    if !failed.isEmpty {
      var table = Table([
        ("FAILED SAMPLE", .right), ("LABEL", .left), ("SEED", .right), ("STAGE", .left), ("ATTEMPTS", .right), ("ERROR", .left),
      ])
      for sample in failed {
        let label = Int(sample.label) < job.labels.count ? job.labels[Int(sample.label)] : "\(sample.label)"
        table.add(["\(sample.index)", label, "\(sample.seed)", sample.stage ?? "", "\(sample.attempts)", sample.error ?? ""])
      }
      lines += [""] + table.lines
    }
    return lines
  }

  /// Who worked on a job.
  ///
  /// - Parameter limit: attempts shown, the last of them.
  package static func history(_ attempts: [Attempt], of job: JobStatus, now: UInt64, limit: Int) -> [String] {
    guard !attempts.isEmpty else { return [] }
    var table = Table([
      ("SAMPLE", .right), ("STAGE", .left), ("ATTEMPT", .right), ("WORKER", .left), ("STATE", .left), ("STEPS", .right),
      ("STEP MS", .right),
      ("BEGAN", .right), ("TOOK", .right), ("REASON", .left),
    ])
    for attempt in attempts.suffix(limit) {
      let began = attempt.startedUnixMilliseconds - min(attempt.startedUnixMilliseconds, job.submittedUnixMilliseconds)
      let end = max(attempt.endedUnixMilliseconds ?? now, attempt.startedUnixMilliseconds)
      table.add([
        "\(attempt.sample)", Int(attempt.stage) < job.stages.count ? job.stages[Int(attempt.stage)].stage : "\(attempt.stage)",
        "\(attempt.number)", attempt.worker, attempt.state.word, "\(attempt.firstStep)-\(attempt.lastStep)",
        attempt.stepMilliseconds.map(oneDecimal) ?? "-", "+\(oneDecimal(Double(began) / 1000))s",
        "\(oneDecimal(Double(end - attempt.startedUnixMilliseconds) / 1000))s", attempt.reason ?? "",
      ])
    }
    let rest = attempts.count - min(limit, attempts.count)
    return [""] + (rest > 0 ? ["HISTORY (the last \(limit); --history shows all)"] : ["HISTORY"]) + table.lines
  }

  /// Samples that failed for good.
  package static func dead(_ jobs: [JobStatus]) -> [String] {
    guard jobs.contains(where: { !$0.details.isEmpty }) else { return ["no sample has failed for good"] }
    var table = Table([
      ("JOB", .left), ("SAMPLE", .right), ("SEED", .right), ("STAGE", .left), ("ATTEMPTS", .right), ("ERROR", .left),
    ])
    for job in jobs {
      for sample in job.details {
        table.add([
          "\(job.job)", "\(sample.index)", "\(sample.seed)", sample.stage ?? "", "\(sample.attempts)", sample.error ?? "",
        ])
      }
    }
    return table.lines
  }

  package static func workers(_ workers: [WorkerStatus]) -> [String] {
    guard !workers.isEmpty else { return ["no workers"] }
    var table = Table([
      ("WORKER", .left), ("STAGE", .left), ("PIPELINE", .left), ("BUSY", .right), ("DONE", .right), ("STEP MS", .right), ("SILENT", .right),
      ("HOST", .left), ("PID", .right), ("NUMERICS", .left),
    ])
    for worker in workers.sorted(by: { ($0.pipeline, $0.stage, $0.name) < ($1.pipeline, $1.stage, $1.name) }) {
      table.add([
        worker.name, worker.stage, worker.pipeline, "\(worker.running)/\(worker.slots)", "\(worker.finished)",
        worker.stepMilliseconds.map(oneDecimal) ?? "-", "\(oneDecimal(Double(worker.silentMilliseconds) / 1000))s", worker.host,
        "\(worker.pid)", worker.numerics,
      ])
    }
    let quarantined = workers.compactMap { worker in
      worker.quarantine.map { "\(printable(worker.name)) is quarantined and gets no work: \(printable($0))" }
    }
    return table.lines + quarantined
  }

  /// How long the job took, or has been going on.
  private static func time(_ job: JobStatus, now: UInt64) -> String {
    let end = job.finishedUnixMilliseconds ?? now
    return ProgressText.clock(Int((end - min(end, job.submittedUnixMilliseconds)) / 1000 % (1 << 40)))
  }

  private static func sampler(_ options: StageOptions) -> String {
    var text = options.sampler ?? ""
    if let eta = options.eta, eta != 0 { text += " eta=\(eta)" }
    if let aug = options.aug, aug != 0 { text += " aug=\(aug)" }
    if let guidance = options.guidance, guidance != 1 { text += " guidance=\(guidance)" }
    return text
  }

  private static func oneDecimal(_ value: Double) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "?" }
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(abs(tenths % 10))"
  }
}
