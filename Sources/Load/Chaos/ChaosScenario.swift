/// What can be done to a fleet of real processes. The numbers are those of the list that the scenarios come from; some of that list need
/// something that does not exist yet, or are tried elsewhere.
package enum ChaosScenario: String, CaseIterable, Sendable {
  case workerKilled = "worker-killed"
  case workerFrozen = "worker-frozen"
  case brokerKilled = "broker-killed"
  case draftsLost = "drafts-lost"
  case shortLives = "short-lives"
  case stageDies = "stage-dies"
  case slowReader = "slow-reader"
  case longStep = "long-step"
  case poison = "poison"
  case queueBound = "queue-bound"
  case cancelStorm = "cancel-storm"
  case spike = "spike"
  case rollingRestart = "rolling-restart"
  case clientDies = "client-dies"
  case kills = "kills"
  case batchInvariance = "batch-invariance"
  case deadlines = "deadlines"
  case deadlineMix = "deadline-mix"
  case fairness = "fairness"
  case weights = "weights"
  case headOfLine = "head-of-line"
  case slowWatcher = "slow-watcher"
  case liar = "liar"
  case writePoints = "write-points"
  case powerLoss = "power-loss"
  case partitions = "partitions"
  case diskFull = "disk-full"
  case readOnly = "read-only"
  case filesExhausted = "files-exhausted"
  case clockJumps = "clock-jumps"
  case strangers = "strangers"

  /// Those that say as much about networks as about hash chains; the others are about time, which networks would only make longer.
  package var isForNetworks: Bool {
    switch self {
    case .workerKilled, .workerFrozen, .brokerKilled, .draftsLost, .rollingRestart, .clientDies, .kills, .batchInvariance: true
    default: false
    }
  }

  package var summary: String {
    switch self {
    case .workerKilled: "1: a worker of each stage is killed at work; the lost steps are counted"
    case .workerFrozen: "2: workers are stopped for longer than their leases, then go on"
    case .brokerKilled: "3: the broker is killed again and again while jobs are submitted and finish"
    case .draftsLost: "3: drafts are in the broker's memory only: asked to stop, it writes them; killed, it has their samples begun anew"
    case .shortLives: "5: every worker lives an exponentially distributed time and ends by SIGKILL, SIGSEGV or SIGTERM"
    case .stageDies: "6: all workers of a stage die; the broker's memory stays flat, and all goes on when they return"
    case .slowReader: "8: a client asks for thousands of images and never reads; others are served, and nothing vanishes"
    case .longStep: "9: steps take longer than the time after which a silent worker is given up; no attempt is wasted"
    case .poison: "10: a job kills its worker each time; it is given up, also across a restart, and others go on"
    case .queueBound: "11: room for 8 jobs, 10 are sent: 2 are refused at once, with a time to ask again"
    case .cancelStorm: "12: half of many jobs are cancelled at any stage; answers are true, the others' bytes are right"
    case .spike: "17: ten times the load for a while, then quiet: everything drains, the broker's memory is bounded"
    case .rollingRestart: "18: every process is stopped with SIGTERM and replaced under load"
    case .clientDies: "21: a client dies after it submitted and comes back: the same job, the same images"
    case .writePoints:
      "3: the broker is killed exactly before and after its writes, syncs and sends, also while its log begins anew (--rounds)"
    case .powerLoss: "4: the same, and what was not brought to the disk yet is lost, in whole or in part (--rounds)"
    case .partitions:
      "7: networks to workers and client are slow, one-way, partitioned or cut (--rounds); leases move on, nothing comes twice"
    case .diskFull: "19: the broker's disk is full for seconds: new jobs are refused, running work survives, and all goes on after it"
    case .readOnly: "19: the broker's disk takes no writes for seconds, and none when it starts: the same"
    case .filesExhausted: "19: the broker has no file descriptors left: nobody new gets in, those who are in are served"
    case .clockJumps: "19: the wall clock jumps by an hour, forth and back: leases and deadlines go by another clock"
    case .strangers:
      "20: a fleet with keys at work, and damaged messages, wrong keys, none, and bytes that are no messages; nobody is answered"
    case .kills:
      "many random SIGKILLs, SIGTERMs, SIGSTOPs and SIGCONTs over workers and broker (--kills); with an odd --seed drafts are in memory"
    case .batchInvariance:
      "13: a sample alone, among others that come and go at each step, on any worker, slots and threads: the same bytes"
    case .deadlines: "14: what expires in the queue never starts, what expires at work stops and leaves its slot to others"
    case .deadlineMix: "14: deadlines met at 0.8, 1.0 and 1.2 of the capacity that was measured; nothing is done late"
    case .fairness:
      "15: one tenant submits 10,000 large jobs, another a small one a second, whose times stay within twice those of an idle fleet"
    case .weights: "15: two tenants with weights 3:1 and more work than the fleet can do; it does 3:1 of it"
    case .headOfLine:
      "16: small jobs behind a train of large ones, of another tenant or with deadlines: at most half the time of first come, first served"
    case .slowWatcher: "22: a client reads what it watches much more slowly than it changes: it misses states, and no end and no image"
    case .liar: "23: a worker's result has a wrong bit: it is found out and gets no more work, also after a restart; no image is wrong"
    }
  }
}

/// What came of a scenario.
package struct ChaosVerdict: Sendable, Encodable {
  package var scenario: String
  /// What computed.
  package var engine: String
  package var seed: UInt64
  package var passed: Bool
  /// What was broken.
  package var reason: String?
  package var seconds: Double
  /// What was counted.
  package var figures: [String: Double]
}

/// A promise that a fleet broke.
package struct Broken: Error, CustomStringConvertible {
  package var description: String

  package init(_ description: String) { self.description = description }
}

func expect(_ condition: Bool, _ complaint: @autoclosure () -> String) throws {
  if !condition { throw Broken(complaint()) }
}
