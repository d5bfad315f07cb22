import Broker
import Client
import Glibc
import SeededRandom
import Wire
import ZeroMQ

// The scenarios. Each throws `Broken` if a promise was, and returns what it counted.

func workerKilled(_ settings: Chaos.Settings) async throws -> [String: Double] {
  var random = SplitMix64(seed: settings.seed)
  let moments = (0..<3).map { _ in Double.random(in: 0.04...0.16, using: &random) }
  return try await ChaosFleet.with(settings, .init()) { fleet in
    let steps = fleet.steps([150, 150, 150], cascade: [40, 30, 12])
    let submission = fleet.submission(1, samples: 4, steps: steps)
    try await fleet.rehearse(submission)
    let job = try await fleet.client.submit(submission).job
    var (worst, allowed) = (0, 0)
    for (index, stage) in fleet.stages.enumerated() {
      let moment = UInt64((moments[index] * 4 * Double(steps[index])).rounded(.up))
      _ = try await fleet.wait(for: job, "its \(stage)'s step \(moment)") { ($0.stage(stage)?.stepsDone ?? 0) >= moment }
      let bound = try await fleet.lostStepsBound(of: stage)
      let before = try await fleet.client.status(of: job).stage(stage)?.stepsDone ?? 0
      await fleet.signal("\(stage)-1", SIGKILL)
      // The only worker of its stage is gone, so nothing hides what is lost.
      let after = try await fleet.wait(for: job, "its tasks of \(stage) were queued again") { status in
        status.stage(stage).map { $0.stepsDone < before || $0.running == 0 || $0.stepsDone > before + 8 } ?? false
      }
      let lost = Int(before) - Int(after.stage(stage)?.stepsDone ?? 0)
      try expect(lost <= bound, "\(lost) steps were lost with one worker of \(stage); \(bound) are allowed")
      (worst, allowed) = (max(worst, lost), max(allowed, bound))
    }
    try await fleet.verify(job, of: submission)
    return ["lost_steps_worst": Double(worst), "lost_steps_allowed": Double(allowed)]
  }
}

extension ChaosFleet {
  /// Steps that a worker's death may cost: of each slot those since its last checkpoint, and what the checkpoint took to arrive.
  func lostStepsBound(of stage: String) async throws -> Int {
    let least = try await leastStepMilliseconds(of: stage)
    return shape.slots * (Int((Double(shape.checkpointMilliseconds) / least).rounded(.up)) + 4)
  }
}

func workerFrozen(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(perStage: 2, deadMilliseconds: 1_000)) { fleet in
    let (images, lost) = try await fleet.underLoad(steps: fleet.steps([40, 40, 40], cascade: [8, 6, 4]), concurrency: 4) {
      for stage in fleet.stages {
        try await Task.sleep(for: .milliseconds(500))
        await fleet.signal("\(stage)-1", SIGSTOP)
        try await Task.sleep(for: .milliseconds(1_800))
        await fleet.signal("\(stage)-1", SIGCONT)
      }
      try await Task.sleep(for: .seconds(1))
    }
    return ["images": Double(images), "lost_steps": Double(lost)]
  }
}

func brokerKilled(_ settings: Chaos.Settings) async throws -> [String: Double] {
  var random = SplitMix64(seed: settings.seed)
  let pauses = (0..<10).map { _ in Int.random(in: 300...1_200, using: &random) }
  return try await ChaosFleet.with(settings, .init(perStage: 1)) { fleet in
    let (images, _) = try await fleet.underLoad(steps: fleet.steps([15, 10, 5], cascade: [6, 4, 3]), concurrency: 4) {
      for pause in pauses {
        try await Task.sleep(for: .milliseconds(pause))
        await fleet.signal("broker", SIGKILL)
      }
    }
    return ["images": Double(images), "kills": Double(pauses.count)]
  }
}

func draftsLost(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(deadMilliseconds: 1_000, brokerOptions: ["--drafts-in-memory", "64MiB"])) { fleet in
    let (samples, steps) = (UInt32(6), fleet.steps([4, 4, 4], cascade: [3, 2, 2]))
    /// - Returns: of the samples whose drafts waited, those that began anew.
    func begunAnew(_ number: Int, after signal: Int32) async throws -> (anew: Int, of: Int) {
      let submission = fleet.submission(number, samples: samples, steps: steps)
      try await fleet.rehearse(submission)
      // Until it is given up: what a worker was given before is in its own memory.
      await fleet.signal("sr64-1", SIGSTOP)
      try await fleet.waitUntilNobodyServes("sr64")
      let job = try await fleet.client.submit(submission).job
      let count = submission.runs.reduce(0) { $0 + $1.count }
      _ = try await fleet.wait(for: job, "all drafts waited") { $0.stage("base32")?.done == count }
      let old = await fleet.pid("broker")
      await fleet.signal("broker", signal)
      _ = try await fleet.runningBroker(after: old)
      await fleet.signal("sr64-1", SIGCONT)
      try await fleet.verify(job, of: submission)
      let repeated = try await fleet.client.history(of: job).filter { $0.stage == 0 && AttemptNumber.isRestarted($0.number) }
      return (Set(repeated.map(\.sample)).count, Int(count))
    }
    let stopped = try await begunAnew(1, after: SIGTERM)
    try expect(stopped.anew == 0, "of \(stopped.of) samples \(stopped.anew) began anew, though the broker was asked to stop")
    let killed = try await begunAnew(2, after: SIGKILL)
    try expect(killed.anew == killed.of, "of \(killed.of) samples whose drafts went with the broker \(killed.anew) began anew")
    return ["images": Double(stopped.of + killed.of), "begun_anew": Double(killed.anew)]
  }
}

func shortLives(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let mean = 2_000.0
  return try await ChaosFleet.with(settings, .init(perStage: 2)) { fleet in
    var random = SplitMix64(seed: settings.seed)
    var deaths: [(time: Int, worker: String, signal: Int32)] = []
    for worker in fleet.workers {
      var time = 0.0
      while true {
        time += -mean * log(1 - random.unit())
        guard time < 15_000 else { break }
        deaths.append((Int(time), worker, [SIGKILL, SIGSEGV, SIGTERM].randomElement(using: &random) ?? SIGKILL))
      }
    }
    let plan = deaths.sorted { ($0.time, $0.worker) < ($1.time, $1.worker) }
    let (images, lost) = try await fleet.underLoad(steps: [20, 15, 10], concurrency: 4) {
      let start = ContinuousClock.now
      for death in plan {
        try await Task.sleep(until: start + .milliseconds(death.time))
        await fleet.signal(death.worker, death.signal)
      }
    }
    return ["images": Double(images), "deaths": Double(plan.count), "lost_steps": Double(lost)]
  }
}

func stageDies(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(stepMilliseconds: 2)) { fleet in
    let before = await fleet.brokerMemory()
    var jobs: [(JobID, Submission)] = []
    await fleet.signal("sr64-1", SIGSTOP)
    for number in 1...20 {
      let submission = fleet.submission(number, samples: 4, steps: [4, 4, 4])
      jobs.append((try await fleet.client.submit(submission).job, submission))
    }
    for (job, _) in jobs { _ = try await fleet.wait(for: job, "its first stage was done") { $0.stage("base32")?.done == 4 } }
    let peak = await fleet.brokerMemory()
    let stuck = try await fleet.client.status(of: jobs[0].0)
    try expect(stuck.stage("sr256")?.done == 0, "the last stage went on without the one before it")
    await fleet.signal("sr64-1", SIGCONT)
    for (job, submission) in jobs { try await fleet.verify(job, of: submission) }
    try await fleet.expectJobs(Set(jobs.map(\.0)))
    try expect(peak - before < 100, "the broker took \(peak - before) MiB for 80 samples that waited")
    return ["broker_mib_before": before, "broker_mib_waiting": peak, "broker_mib_after": await fleet.brokerMemory()]
  }
}

func slowReader(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(stepMilliseconds: 1)) { fleet in
    let first = fleet.submission(1, samples: 1, steps: [2, 2, 2])
    let job = try await fleet.client.submit(first).job
    try await fleet.verify(job, of: first)
    let before = await fleet.brokerMemory()
    let asked = try askWithoutReading(fleet.endpoint, for: job, requests: 2_000)
    defer { asked.close() }
    let start = ContinuousClock.now
    for number in 2...6 {
      let submission = fleet.submission(number, samples: 2, steps: [2, 2, 2])
      try await fleet.verify(try await fleet.client.submit(submission).job, of: submission)
    }
    let seconds = start.duration(to: .now) / .seconds(1)
    let peak = await fleet.brokerMemory()
    try expect(peak - before < 400, "the broker took \(peak - before) MiB for a client that does not read")
    return ["seconds_of_five_jobs": seconds, "broker_mib_before": before, "broker_mib_after": peak]
  }
}

/// A client's socket that has asked for an image many times and reads no answer.
private final class SilentClient: Sendable {
  private let context: Context
  private nonisolated(unsafe) let socket: Socket

  init(_ context: Context, _ socket: Socket) {
    self.context = context
    self.socket = socket
  }

  func close() {
    socket.close()
    context.terminate()
  }
}

private func askWithoutReading(_ endpoint: String, for job: JobID, requests: UInt64) throws -> SilentClient {
  let context = try Context()
  var options = SocketOptions()
  options.receiveHighWaterMark = 1
  options.sendHighWaterMark = Int32(requests)
  options.linger = .zero
  let socket = try Socket(context, .dealer, options)
  try socket.connect(endpoint)
  for number in 1...requests { try socket.send(try WireCodec.encode(.fetch(job, sample: 0), request: number)) }
  return SilentClient(context, socket)
}

func longStep(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(stepMilliseconds: 1_500, deadMilliseconds: 500)) { fleet in
    let submission = fleet.submission(1, samples: 2, steps: [2, 2, 1])
    let job = try await fleet.client.submit(submission).job
    var attempts: UInt32 = 0
    for try await _ in fleet.client.watch(job) {
      attempts = max(attempts, try await fleet.client.status(of: job).details.map(\.attempts).max() ?? 0)
    }
    try await fleet.verify(job, of: submission)
    try expect(attempts <= 1, "a long step cost a worker its task: \(attempts) attempts")
    return ["attempts_worst": Double(attempts)]
  }
}

func poison(_ settings: Chaos.Settings) async throws -> [String: Double] {
  let shape = ChaosFleet.Shape(
    stepMilliseconds: 20, slots: 1, deadMilliseconds: 600, checkpointMilliseconds: 0, brokerOptions: ["--max-attempts", "3"])
  return try await ChaosFleet.with(settings, shape) { fleet in
    let bad = fleet.submission(1, samples: 1, steps: [1_000, 1, 1])
    let job = try await fleet.client.submit(bad).job
    var kills = 0
    // As a job would that crashes its worker whenever it begins.
    for try await status in fleet.client.watch(job) where (status.stage("base32")?.stepsDone ?? 0) > 0 {
      await fleet.signal("base32-1", SIGKILL)
      kills += 1
    }
    let end = try await fleet.client.status(of: job)
    try expect(end.state == .failed, "the poisoned job is \(end.state)")
    try expect(end.details.first?.error?.isEmpty == false, "nobody says why the poisoned job failed")
    await fleet.signal("broker", SIGKILL)
    let good = fleet.submission(2, samples: 2, steps: [5, 3, 2])
    try await fleet.verify(try await fleet.client.submit(good).job, of: good)
    let remembered = try await fleet.client.status(of: job)
    try expect(
      remembered.state == .failed && remembered.details == end.details,
      "the poisoned job's end did not survive a restart: \(end.details) became \(remembered.details)")
    return ["kills": Double(kills)]
  }
}

func queueBound(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(stepMilliseconds: 50, brokerOptions: ["--max-open-tasks", "24"])) { fleet in
    var accepted: [(JobID, Submission)] = []
    var refused = 0
    for number in 1...10 {
      let submission = fleet.submission(number, samples: 1, steps: [100, 2, 2])
      do {
        accepted.append((try await fleet.client.submit(submission).job, submission))
      } catch let error as ClientError {
        try expect(error.refusal?.code == .overloaded && error.refusal?.retryAfterMilliseconds != nil, "refused, but how: \(error)")
        refused += 1
      }
    }
    try expect(accepted.count == 8 && refused == 2, "\(accepted.count) jobs were accepted and \(refused) refused, of 10 where 8 have room")
    for (job, submission) in accepted { try await fleet.verify(job, of: submission) }
    return ["accepted": Double(accepted.count), "refused": Double(refused)]
  }
}

func cancelStorm(_ settings: Chaos.Settings) async throws -> [String: Double] {
  var random = SplitMix64(seed: settings.seed)
  let pauses = (0..<20).map { _ in Int.random(in: 0...150, using: &random) }
  return try await ChaosFleet.with(settings, .init(stepMilliseconds: 4)) { fleet in
    var jobs: [(JobID, Submission)] = []
    for number in 1...40 {
      let submission = fleet.submission(number, samples: 2, steps: [40, 30, 20])
      jobs.append((try await fleet.client.submit(submission).job, submission))
    }
    var stopped = 0
    var slowest = Duration.zero
    for (number, pause) in pauses.enumerated() {
      try await Task.sleep(for: .milliseconds(pause))
      let job = jobs[2 * number].0
      let before = try await fleet.client.status(of: job)
      let start = ContinuousClock.now
      let counts = try await fleet.client.cancel(job)
      slowest = max(slowest, start.duration(to: .now))
      let after = try await fleet.client.status(of: job)
      try expect(counts.queued + counts.stopped + counts.tooLate == 2, "the cancellation of 2 samples counts \(counts)")
      try expect(after.state.isFinal, "job \(job) is \(after.state) after its cancellation")
      try expect(before.state != .done || (after.state == .done && counts.tooLate == 2), "a job that was done is \(after.state)")
      try expect(
        UInt32(after.details.count { $0.state == .cancelled }) == counts.queued + counts.stopped,
        "the answer \(counts) is not what happened")
      stopped += Int(counts.queued + counts.stopped)
    }
    try expect(stopped > 0, "every job was done before it was cancelled, which tells nothing")
    for number in 0..<20 { try await fleet.verify(jobs[2 * number + 1].0, of: jobs[2 * number + 1].1) }
    let running = try await fleet.client.workers().reduce(0) { $0 + $1.running }
    try expect(running == 0, "nothing is left to do, and workers hold \(running) tasks")
    return ["samples_cancelled": Double(stopped), "slowest_answer_ms": slowest / .milliseconds(1)]
  }
}

func spike(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(stepMilliseconds: 1)) { fleet in
    let before = await fleet.brokerMemory()
    var peak = before
    var jobs: [(JobID, Submission)] = []
    let start = ContinuousClock.now
    for number in 1...200 {
      let submission = fleet.submission(number, samples: 1, steps: [2, 2, 2])
      jobs.append((try await fleet.client.submit(submission).job, submission))
      if number % 20 == 0 { peak = max(peak, await fleet.brokerMemory()) }
    }
    for (job, submission) in jobs { try await fleet.verify(job, of: submission) }
    let drained = start.duration(to: .now) / .seconds(1)
    peak = max(peak, await fleet.brokerMemory())
    try await fleet.expectJobs(Set(jobs.map(\.0)))
    try expect(peak - before < 200, "the broker grew by \(peak - before) MiB")
    return ["broker_mib_before": before, "broker_mib_peak": peak, "seconds_to_drain": drained]
  }
}

func rollingRestart(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init(perStage: 2)) { fleet in
    let (images, lost) = try await fleet.underLoad(steps: fleet.steps([30, 20, 10], cascade: [6, 4, 3]), concurrency: 3) {
      for name in fleet.workers + ["broker"] {
        await fleet.signal(name, SIGTERM)
        try await Task.sleep(for: .seconds(1))
      }
    }
    return ["images": Double(images), "lost_steps": Double(lost)]
  }
}

func clientDies(_ settings: Chaos.Settings) async throws -> [String: Double] {
  try await ChaosFleet.with(settings, .init()) { fleet in
    let submission = fleet.submission(1, steps: fleet.steps([30, 20, 10], cascade: [6, 4, 3]))
    try await fleet.rehearse(submission)
    let dying = try ChaosFleet.client(fleet.endpoint)
    let job = try await dying.submit(submission).job
    await dying.close()
    await fleet.signal("broker", SIGKILL)
    let again = try await fleet.client.submit(submission)
    try expect(again.job == job && again.duplicate, "the same key became job \(again.job), after \(job)")
    let images = try await fleet.verify(job, of: submission)
    try await fleet.expectJobs([job])
    return ["images": Double(images)]
  }
}
