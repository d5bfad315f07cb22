package import Client
import Foundation
package import Wire

/// Submits jobs to a broker as a pattern says, follows each to its end, and looks at what comes out.
///
/// In an open loop a job's time counts from when it should have been submitted: a generator that is late, or waits for a slow broker, does not
/// flatter what it measures (coordinated omission).
package actor LoadRun {
  package struct Settings: Sendable {
    package var pattern: ArrivalPattern
    package var mix: JobMix
    /// In which jobs are submitted, in seconds.
    package var duration: Double
    /// What is submitted in the first seconds is not counted.
    package var warmUp: Double
    package var seed: UInt64
    /// `nil`: images are neither fetched nor compared.
    package var verifier: (any Verifier)?
    /// The part of the images that is, from 0 to 1.
    package var verifiedShare: Double
    /// The broker's process, if it is on this machine.
    package var brokerPID: Int32?
    /// Images a second that the fleet could make at best; `nil`: nobody knows.
    package var idealPerSecond: Double?
    /// What the steps of a job of one sample take; `nil`: nobody knows, or jobs are of several kinds or samples.
    package var computeMilliseconds: Double?
    /// What else happens, from the first arrival on; it is cancelled once the last job has ended.
    package var meanwhile: @Sendable () async throws -> Void = {}

    package init(
      pattern: ArrivalPattern, mix: JobMix, duration: Double, warmUp: Double, seed: UInt64,
      verifier: (any Verifier)? = nil, verifiedShare: Double = 1, brokerPID: Int32? = nil
    ) {
      self.pattern = pattern
      self.mix = mix
      self.duration = duration
      self.warmUp = warmUp
      self.seed = seed
      self.verifier = verifier
      self.verifiedShare = verifiedShare
      self.brokerPID = brokerPID
    }
  }

  /// How often workers are counted.
  private static let samplingInterval = Duration.milliseconds(250)
  /// Of at most so many jobs the history is asked for.
  private static let histories = 400
  private static let soloRuns = 3

  private let settings: Settings
  private let clients: [WeirClient]
  /// For what is not about a job of the run.
  private var client: WeirClient { clients[0] }
  private let progress: @Sendable (LoadProgress) -> Void
  private let clock = ContinuousClock()
  private var start = ContinuousClock.now
  private var startUnixMilliseconds = 0.0
  /// How many the pipeline has.
  private var labels = 1
  private var outcomes: [JobOutcome] = []
  private var open = 0
  private var submitted = 0
  private var occupancy: [StageOccupancy] = []
  private var brokerMemory: [(time: Double, mebibytes: Double)] = []

  /// - Parameters:
  ///   - clients: who submit the jobs by turns; at least one. Past saturation thousands of jobs are open, more than one client may watch.
  ///   - progress: called once a second.
  package init(_ settings: Settings, clients: [WeirClient], progress: @escaping @Sendable (LoadProgress) -> Void = { _ in }) {
    self.settings = settings
    self.clients = clients
    self.progress = progress
  }

  /// - Throws: `ClientError` if there is no broker, or its fleet has no worker.
  package func run() async throws -> LoadRecord {
    let solo = try await soloTimes()
    start = clock.now
    startUnixMilliseconds = Date().timeIntervalSince1970 * 1_000
    let before = settings.brokerPID.flatMap { ProcessUsage(of: $0) }
    let watching = Task { try await watchFleet() }
    let others = Task { try await settings.meanwhile() }
    await submitAll()
    watching.cancel()
    others.cancel()
    let after = settings.brokerPID.flatMap { ProcessUsage(of: $0) }
    var usage: ProcessUsage?
    if let before, let after { usage = after.since(before) }
    let seconds = seconds
    let histories = try await histories()
    try await verify()
    return LoadRecord(
      outcomes: outcomes.sorted { $0.number < $1.number }, histories: histories, occupancy: occupancy, solo: solo,
      start: startUnixMilliseconds, seconds: seconds, broker: usage, brokerMemory: brokerMemory)
  }

  /// Since the start.
  private var seconds: Double { (clock.now - start) / .seconds(1) }

  /// How long a job of each kind takes on a fleet that does nothing else, in seconds: the median of a few.
  private func soloTimes() async throws -> [Double] {
    var times: [JobMix.Kind: Double] = [:]
    for (index, kind) in settings.mix.kinds.enumerated() where times[kind.alone] == nil {
      var each: [Double] = []
      for run in 0..<Self.soloRuns {
        start = clock.now
        let outcome = await follow(number: -1 - run, kind: index, intended: 0, isAlone: true)
        guard let job = outcome.job, outcome.end == .done else {
          throw Broken("before the run a job of each kind is run alone, and one of kind '\(kind.name)' came to this end: \(outcome.end)")
        }
        each.append(outcome.latency)
        labels = try await client.status(of: job).labels.count
      }
      times[kind.alone] = quantile(0.5, of: each)
    }
    return settings.mix.kinds.map { times[$0.alone] ?? .nan }
  }

  // MARK: Submitting

  private func submitAll() async {
    await withDiscardingTaskGroup { group in
      if case .closed(let concurrency) = settings.pattern {
        for _ in 0..<concurrency {
          group.addTask { await self.keepSubmitting() }
        }
        return
      }
      for (number, (time, kind)) in schedule().enumerated() {
        try? await clock.sleep(until: start + .seconds(time))
        group.addTask { await self.one(number, kind: kind, intended: time) }
      }
    }
  }

  private func schedule() -> [(time: Double, kind: Int)] {
    if case .trace(let arrivals) = settings.pattern { return arrivals.filter { $0.time < settings.duration } }
    return Arrivals(settings.pattern, duration: settings.duration, seed: settings.seed).enumerated().map {
      ($1, settings.mix.kind(ofJob: $0, seed: settings.seed))
    }
  }

  private func keepSubmitting() async {
    while seconds < settings.duration {
      let number = submitted
      submitted += 1
      let outcome = await one(number, kind: settings.mix.kind(ofJob: number, seed: settings.seed), intended: nil)
      if case .refused(let milliseconds) = outcome.end { try? await Task.sleep(for: .milliseconds(milliseconds ?? 1_000)) }
      if case .lost = outcome.end { try? await Task.sleep(for: .seconds(1)) }
    }
  }

  @discardableResult
  private func one(_ number: Int, kind: Int, intended: Double?) async -> JobOutcome {
    open += 1
    let outcome = await follow(number: number, kind: kind, intended: intended ?? seconds)
    open -= 1
    outcomes.append(outcome)
    return outcome
  }

  /// A job from its submission to its end.
  private func follow(number: Int, kind: Int, intended: Double, isAlone: Bool = false) async -> JobOutcome {
    var submission = settings.mix.submission(ofJob: number, kind: kind, seed: settings.seed, labels: labels)
    if isAlone { submission.deadlineMilliseconds = nil }
    var outcome = JobOutcome(
      number: number, kind: kind, samples: Int(submission.runs[0].count), intended: intended, submitted: seconds, ended: 0, end: .done)
    let client = clients[abs(number) % clients.count]
    do {
      let acceptance = try await client.submit(submission)
      outcome.accepted = seconds
      outcome.job = acceptance.job
      outcome.samples = Int(acceptance.samples)
      outcome.end = try await watch(acceptance.job, kind: settings.mix.kinds[kind], with: client)
      outcome.ended = seconds
    } catch let error as ClientError {
      outcome.ended = seconds
      outcome.end = error.refusal.map { .refused(retryAfter: $0.retryAfterMilliseconds) } ?? .lost("\(error)")
    } catch {
      outcome.ended = seconds
      outcome.end = .lost("\(error)")
    }
    return outcome
  }

  private func watch(_ job: JobID, kind: JobMix.Kind, with client: WeirClient) async throws -> JobOutcome.End {
    var isChosen = false
    for try await status in client.watch(job) {
      switch status.state {
      case .queued, .running: break
      case .held:
        guard !isChosen else { break }
        isChosen = true
        _ = try await client.release(job, keep: Array(0..<kind.keep))
      case .done: return .done
      case .failed: return .failed
      case .expired: return .expired
      case .cancelled: return .cancelled
      }
    }
    return .lost("the watch of job \(job) ended without an end of the job")
  }

  // MARK: Looking

  private func verify() async throws {
    guard let verifier = settings.verifier else { return }
    let verification = Verification(.init(verifier: verifier, share: settings.verifiedShare), client: client)
    let results = try await verification.run(outcomes.filter { $0.end == .done }.compactMap(\.job))
    for index in outcomes.indices {
      guard let result = outcomes[index].job.flatMap({ results[$0] }) else { continue }
      outcomes[index].verified = result.verified
      outcomes[index].wrong = result.wrong
      outcomes[index].missing = result.missing
    }
  }

  private func watchFleet() async throws {
    var count = 0
    while true {
      try await Task.sleep(for: Self.samplingInterval)
      let workers = try await client.workers()
      let now = seconds
      for (stage, those) in Dictionary(grouping: workers, by: \.stage) {
        occupancy.append(
          StageOccupancy(
            time: now, stage: stage, workers: those.count, slots: those.reduce(0) { $0 + Int($1.slots) },
            running: those.reduce(0) { $0 + Int($1.running) }, busyWorkers: those.count { $0.running > 0 }))
      }
      count += 1
      guard count % 4 == 0 else { continue }
      if let usage = settings.brokerPID.flatMap({ ProcessUsage(of: $0) }) { brokerMemory.append((now, usage.residentMiB)) }
      let recent = outcomes.filter { $0.ended > now - 1 && $0.accepted != nil }
      progress(
        LoadProgress(
          seconds: now, open: open, imagesPerSecond: recent.reduce(0) { $0 + ($1.end == .done ? $1.samples : 0) },
          latencies: recent.map(\.latency).sorted(),
          refused: outcomes.count { if case .refused = $0.end { true } else { false } },
          fill: Dictionary(grouping: workers, by: \.stage).mapValues { those in
            Double(those.reduce(0) { $0 + $1.running }) / Double(max(1, those.reduce(0) { $0 + $1.slots }))
          }))
    }
  }

  /// Who worked on some of the measured jobs, evenly spread over the run.
  private func histories() async throws -> [JobHistory] {
    let done = outcomes.filter { $0.end == .done && $0.intended >= settings.warmUp }.sorted { $0.number < $1.number }
    let step = max(1, done.count / Self.histories)
    var found: [JobHistory] = []
    for outcome in stride(from: 0, to: done.count, by: step).map({ done[$0] }) {
      guard let job = outcome.job else { continue }
      let status = try await client.status(of: job)
      found.append(
        JobHistory(
          number: outcome.number, kind: outcome.kind, acceptedUnixMilliseconds: status.submittedUnixMilliseconds,
          stages: status.stages.map(\.stage), attempts: try await client.history(of: job)))
    }
    return found
  }
}

/// What a run did so far.
package struct LoadProgress: Sendable {
  package var seconds: Double
  /// Jobs submitted and not ended.
  package var open: Int
  /// In the last second.
  package var imagesPerSecond: Int
  /// Of jobs that ended in the last second, in seconds, ascending.
  package var latencies: [Double]
  package var refused: Int
  /// Tasks by slots, of each stage.
  package var fill: [String: Double]
}

/// All that a run saw.
package struct LoadRecord: Sendable {
  /// By number.
  package var outcomes: [JobOutcome]
  /// Of some of them.
  package var histories: [JobHistory]
  package var occupancy: [StageOccupancy]
  /// How long a job of each kind took alone, in seconds.
  package var solo: [Double]
  /// Unix milliseconds.
  package var start: Double
  /// Until the last job ended.
  package var seconds: Double
  /// What the broker used meanwhile.
  package var broker: ProcessUsage?
  /// Its memory, from time to time, in seconds from the start.
  package var brokerMemory: [(time: Double, mebibytes: Double)] = []
}

package struct JobHistory: Sendable {
  package var number: Int
  package var kind: Int
  package var acceptedUnixMilliseconds: UInt64
  package var stages: [String]
  package var attempts: [Attempt]
}

/// How busy a stage was at a moment, in seconds from the run's start.
package struct StageOccupancy: Sendable {
  package var time: Double
  package var stage: String
  package var workers, slots, running, busyWorkers: Int
}
