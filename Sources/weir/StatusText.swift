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
    var stages = Table([
      ("STAGE", .left), ("QUEUED", .right), ("RUNNING", .right), ("DONE", .right), ("FAILED", .right), ("STEPS", .right),
      ("SAMPLER", .left),
    ])
    for stage in job.stages {
      let options = job.options.first { $0.stage == stage.stage }
      stages.add([
        stage.stage, "\(stage.queued)", "\(stage.running)", "\(stage.done)", "\(stage.failed)", "\(stage.stepsDone)/\(stage.stepsTotal)",
        options.map(sampler) ?? "",
      ])
    }
    var lines = head.lines + [""] + stages.lines
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
    return table.lines
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
    return text
  }

  private static func oneDecimal(_ value: Double) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "?" }
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(abs(tenths % 10))"
  }
}
