import Wire

extension LoadReport {
  /// How long the strips show.
  private static let stripSeconds = 10.0
  /// Of a job that counts as served well, its time by that of its kind alone.
  private static let goodFactor = 3.0

  package init(_ record: LoadRecord, of settings: LoadRun.Settings, pattern: String) {
    self.pattern = pattern
    seed = settings.seed
    duration = settings.duration
    warmUp = settings.warmUp
    let measured = record.outcomes.filter { $0.intended >= settings.warmUp }
    let done = measured.filter { $0.end == .done }
    let images = done.reduce(0) { $0 + $1.samples }
    let stageCount = record.histories.first?.stages.count ?? 0
    // What was finished after the last submission counts with the time that took, so that a backlog does not look like throughput.
    let span = max(1e-9, (done.map(\.ended).max() ?? settings.duration) - settings.warmUp)
    throughputPerS = Double(images) / span
    let steady = record.outcomes.filter { $0.end == .done && $0.ended >= settings.warmUp && $0.ended < settings.duration }
    let steadyRate = Double(steady.reduce(0) { $0 + $1.samples }) / (settings.duration - settings.warmUp)
    steadyPerS = steadyRate
    idealPerS = settings.idealPerSecond
    efficiency = settings.idealPerSecond.map { steadyRate / $0 }
    tasksPerS = throughputPerS * Double(stageCount)
    latencyMs = Percentiles(seconds: done.map(\.latency))
    hopMs = settings.computeMilliseconds.map { compute in
      Percentiles(seconds: done.map { ($0.latency - compute / 1_000) / Double(max(1, stageCount)) })
    }
    acceptMs = Percentiles(seconds: measured.compactMap { outcome in outcome.accepted.map { $0 - outcome.submitted } })
    jobs = Counts(measured)
    let reasons = Set(measured.compactMap { outcome in if case .lost(let why) = outcome.end { why } else { nil } })
    lostBecause = reasons.isEmpty ? nil : reasons.sorted()
    let good = done.filter { $0.latency <= Self.goodFactor * record.solo[$0.kind] }.count
    goodput = measured.isEmpty ? 0 : Double(good) / Double(measured.count)
    goodputPerS = Double(good) / span
    let mix = settings.mix
    let urgent = measured.filter { mix.kinds[$0.kind].deadline != nil }
    deadlineAttainment = urgent.isEmpty ? nil : Double(urgent.count { $0.end == .done }) / Double(urgent.count)
    stages = Stage.all(record, from: settings.warmUp, to: settings.duration)
    let costs = stages.compactMapValues(\.stepMs)
    tenants = Tenant.all(done, record, mix, costs)
    fairness = Self.jain(tenants.values.map(\.workMs))
    kinds = mix.kinds.enumerated().map { index, kind in
      let those = measured.filter { $0.kind == index }
      let finished = those.filter { $0.end == .done }
      return Kind(
        name: kind.name, soloMs: record.solo[index] * 1_000, latencyMs: Percentiles(seconds: finished.map(\.latency)), done: finished.count,
        submitted: those.count)
    }
    let attempts = record.histories.flatMap(\.attempts)
    let sampled = Set(record.histories.flatMap { history in history.attempts.map { "\(history.number).\($0.sample)" } }).count
    let work = attempts.reduce(0.0) { $0 + Double($1.lastStep - min($1.firstStep, $1.lastStep)) * ($1.stepMilliseconds ?? 0) / 1_000 }
    stepSecondsPerImage = sampled == 0 ? nil : work / Double(sampled)
    let tasks = record.outcomes.filter { $0.end == .done }.reduce(0) { $0 + $1.samples } * max(1, stageCount)
    broker = record.broker.map {
      Broker(
        cpuUsPerTask: $0.processorSeconds / Double(max(1, tasks)) * 1e6, cpu: $0.processorSeconds / max(1e-9, record.seconds),
        residentMib: $0.residentMiB)
    }
    verified = record.outcomes.reduce(0) { $0 + $1.verified }
    wrongImages = record.outcomes.flatMap(\.wrong)
    wrong = wrongImages.count
    let gone = record.outcomes.reduce(0) { $0 + $1.missing }
    missing = gone == 0 ? nil : gone
    timeline = Second.all(record)
    if case .ramp(let from, let to) = settings.pattern { kneePerS = Self.knee(record, highest: max(from, to)) }
    let end = record.histories.flatMap(\.attempts).compactMap(\.endedUnixMilliseconds).max().map { Double($0) } ?? 0
    strips = record.histories.flatMap { history in
      history.attempts.compactMap { attempt -> Strip? in
        guard let ended = attempt.endedUnixMilliseconds.map({ Double($0) }), ended > end - Self.stripSeconds * 1_000 else { return nil }
        return Strip(
          stage: history.stages[Int(attempt.stage)], worker: attempt.worker,
          from: (Double(attempt.startedUnixMilliseconds) - record.start) / 1_000, to: (ended - record.start) / 1_000)
      }
    }
  }

  /// Jain, Chiu and Hawe, 1984.
  static func jain(_ shares: [Double]) -> Double? {
    guard shares.count > 1 else { return nil }
    let sum = shares.reduce(0, +)
    let squares = shares.reduce(0) { $0 + $1 * $1 }
    return squares == 0 ? nil : sum * sum / (Double(shares.count) * squares)
  }

  /// In jobs a second; `nil`: the fleet kept up to the ramp's higher end.
  private static func knee(_ record: LoadRecord, highest: Double) -> Double? {
    let done = record.outcomes.filter { $0.end == .done }
    let alone = done.reduce(0) { $0 + record.solo[$1.kind] } / Double(max(1, done.count))
    return Capacity(arrivals: done.map(\.intended), completions: done.map(\.ended), alone: alone, highest: highest)?.perSecond
  }
}

extension LoadReport.Counts {
  init(_ outcomes: [JobOutcome]) {
    self.init(submitted: outcomes.count, done: 0, failed: 0, expired: 0, cancelled: 0, refused: 0, lost: 0, refusedWithRetryAfter: 0)
    for outcome in outcomes {
      switch outcome.end {
      case .done: done += 1
      case .failed: failed += 1
      case .expired: expired += 1
      case .cancelled: cancelled += 1
      case .refused(let retryAfter):
        refused += 1
        if retryAfter != nil { refusedWithRetryAfter += 1 }
      case .lost: lost += 1
      }
    }
  }
}

extension LoadReport.Tenant {
  /// - Parameter costs: milliseconds a step, by stage.
  static func all(_ done: [JobOutcome], _ record: LoadRecord, _ mix: JobMix, _ costs: [String: Double]) -> [String: Self] {
    // Of each kind, the work of one image, as the histories have it.
    var work: [Int: (milliseconds: Double, images: Set<String>)] = [:]
    for history in record.histories {
      for attempt in history.attempts where attempt.state == .done {
        let cost = costs[history.stages[Int(attempt.stage)]] ?? 0
        work[history.kind, default: (0, [])].milliseconds += Double(attempt.lastStep) * cost
        work[history.kind]?.images.insert("\(history.number).\(attempt.sample)")
      }
    }
    return Dictionary(grouping: done) { mix.kinds[$0.kind].tenant }.mapValues { jobs in
      Self(
        jobs: jobs.count, images: jobs.reduce(0) { $0 + $1.samples },
        workMs: jobs.reduce(0) { sum, job in
          let each = work[job.kind].map { $0.milliseconds / Double(max(1, $0.images.count)) } ?? 0
          return sum + each * Double(job.samples)
        }, latencyMs: Percentiles(seconds: jobs.map(\.latency)))
    }
  }
}

extension LoadReport.Stage {
  static func all(_ record: LoadRecord, from: Double, to: Double) -> [String: Self] {
    var queues: [String: [Double]] = [:]
    var computes: [String: [Double]] = [:]
    var steps: [String: [Double]] = [:]
    var counts: [String: (all: Int, failed: Int)] = [:]
    for history in record.histories {
      // When the sample could begin its next attempt.
      var ready: [UInt32: UInt64] = [:]
      for attempt in history.attempts.sorted(by: { ($0.sample, $0.stage, $0.number) < ($1.sample, $1.stage, $1.number) }) {
        let stage = history.stages[Int(attempt.stage)]
        let since = ready[attempt.sample] ?? history.acceptedUnixMilliseconds
        queues[stage, default: []].append((Double(attempt.startedUnixMilliseconds) - Double(since)) / 1_000)
        counts[stage, default: (0, 0)].all += 1
        if let ended = attempt.endedUnixMilliseconds {
          ready[attempt.sample] = ended
          if attempt.state == .done {
            computes[stage, default: []].append((Double(ended) - Double(attempt.startedUnixMilliseconds)) / 1_000)
          }
        }
        if attempt.state == .failed { counts[stage]?.failed += 1 }
        if let milliseconds = attempt.stepMilliseconds { steps[stage, default: []].append(milliseconds) }
      }
    }
    let moments = Dictionary(grouping: record.occupancy.filter { $0.time >= from && $0.time <= to }, by: \.stage)
    var stages: [String: Self] = [:]
    for stage in Set(queues.keys).union(moments.keys) {
      let those = moments[stage] ?? []
      let workers = those.reduce(0) { $0 + $1.workers }
      let sorted = steps[stage]?.sorted() ?? []
      stages[stage] = Self(
        queueMs: Percentiles(seconds: queues[stage] ?? []), computeMs: Percentiles(seconds: computes[stage] ?? []),
        stepMs: sorted.isEmpty ? nil : sorted[sorted.count / 2], attempts: counts[stage]?.all ?? 0,
        failedAttempts: counts[stage]?.failed ?? 0,
        utilisation: Double(those.reduce(0) { $0 + $1.busyWorkers }) / Double(max(1, workers)),
        fill: Double(those.reduce(0) { $0 + $1.running }) / Double(max(1, those.reduce(0) { $0 + $1.slots })),
        workers: Double(workers) / Double(max(1, those.count)))
    }
    return stages
  }
}

extension LoadReport.Second {
  static func all(_ record: LoadRecord) -> [Self] {
    guard let last = record.outcomes.map(\.ended).max() else { return [] }
    let ended = Dictionary(grouping: record.outcomes) { Int($0.ended) }
    let offered = Dictionary(grouping: record.outcomes) { Int($0.intended) }
    let moments = Dictionary(grouping: record.occupancy) { Int($0.time) }
    let memory = Dictionary(record.brokerMemory.map { (Int($0.time), $0.mebibytes) }) { first, _ in first }
    return (0...Int(last)).map { second in
      let jobs = ended[second] ?? []
      let times = Percentiles(seconds: jobs.filter { $0.end == .done }.map(\.latency))
      return Self(
        second: second, offered: offered[second]?.count ?? 0,
        images: jobs.reduce(0) { $0 + ($1.end == .done ? $1.samples : 0) },
        refused: jobs.count { if case .refused = $0.end { true } else { false } }, p50Ms: times.count == 0 ? nil : times.p50,
        p99Ms: times.count == 0 ? nil : times.p99, brokerMib: memory[second],
        running: Dictionary(grouping: moments[second] ?? [], by: \.stage).mapValues { those in
          Double(those.reduce(0) { $0 + $1.running }) / Double(those.count)
        })
    }
  }
}
