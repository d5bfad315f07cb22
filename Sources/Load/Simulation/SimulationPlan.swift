import Broker
import Digests
import SeededRandom
import Wire

/// What a seed means: the fleet, what its clients want, and what will go wrong. Everything random that happens later comes from generators
/// of their own, one for each party, so that leaving out a fault changes only what follows from it.
struct SimulationPlan {
  struct Machine {
    var name: String
    var stage: Int
    var numerics: String
    var slots: UInt32
    var prefetch: UInt32
    var bytes: UInt64
    var stepMilliseconds: Int64
    /// Its results are wrong, and have the digests to go with it.
    var lies = false
  }

  struct Client {
    var submission: Submission
    var start: Int64
    /// When it changes its mind.
    var cancelTime: Int64?
    /// Of samples that are held, the ones that may go on.
    var keep: [UInt32] = []
    /// How long it looks at them.
    var thinkTime: Int64 = 0
    /// How often it has failed samples tried again.
    var retries = 0
    /// It asks for something else under the same key, too.
    var forges = false
  }

  let seed: UInt64
  let pipeline: PipelineInfo
  let limits: BrokerLimits
  let machines: [Machine]
  let clients: [Client]
  let faults: [Fault]
  /// Seeds of samples that no worker can compute.
  let poison: Set<UInt64>
  /// The two tenants that keep the fleet busy, with nothing else going on, to see what each of them gets.
  let rivals: [String]

  /// After this nothing goes wrong any more.
  static let chaosEnd: Int64 = 6_000
  /// By then every job has to be finished.
  static let end: Int64 = 150_000

  init(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    if random.chance(0.02) {
      self.init(saturated: seed, &random)
    } else {
      self.init(mixed: seed, &random)
    }
  }

  private init(mixed seed: UInt64, _ random: inout SplitMix64) {
    self.seed = seed
    rivals = []
    let pipeline = Self.pipeline(&random)
    self.pipeline = pipeline
    var limits = Self.limits(&random)
    var machines: [Machine] = []
    for stage in pipeline.stages.indices {
      for copy in 0..<Int.random(in: 1...3, using: &random) {
        machines.append(Self.machine(stage, copy, of: pipeline, &random))
      }
    }
    let liar = random.chance(0.1) ? Self.addLiar(to: &machines, of: pipeline, &random) : nil
    self.machines = machines
    var poison: Set<UInt64> = []
    var clients: [Client] = []
    for index in 0..<Int.random(in: 1...4, using: &random) {
      var client = Self.client(index, of: pipeline, &random)
      // Tenants know nothing of each other's keys.
      if random.chance(0.3), !clients.contains(where: { $0.submission.tenant == client.submission.tenant }) {
        client.submission.key = "job"
      }
      clients.append(client)
      if limits.maxAttempts < 100, random.chance(0.1) { poison.insert(client.submission.runs[0].seed) }
    }
    self.clients = clients
    self.poison = poison
    // Room for any job at least.
    limits.maxOpenTasksPerTenant = limits.maxOpenTasks
    if random.chance(0.3) {
      let largest = clients.map { Self.samples($0.submission, of: pipeline) }.max() ?? 0
      limits.maxOpenTasksPerTenant = largest * pipeline.stages.count + Int.random(in: 0...3, using: &random)
    }
    self.limits = limits
    let machineCount = machines.count
    let clientCount = clients.count
    // Some runs are calm, some are wild.
    let count = Int.random(in: 0...(random.chance(0.3) ? 40 : 12), using: &random)
    let mayTakeLong = limits.stallMilliseconds < 10_000
    var faults = (0..<count).map { _ in Self.fault(machines: machineCount, clients: clientCount, mayTakeLong: mayTakeLong, &random) }
    // Two results of one task have to come together.
    if let liar {
      for _ in 0..<6 {
        let machine = machines.indices.filter { machines[$0].stage == machines[liar].stage }.randomElement(using: &random) ?? liar
        faults.append(
          Fault(
            time: Int64.random(in: 0..<Self.chaosEnd - 2_600, using: &random),
            kind: .workerFrozen(machine, Int64.random(in: 1_000...2_500, using: &random))))
      }
      // Who was caught stays caught.
      for _ in 0..<2 {
        faults.append(
          Fault(
            time: Int64.random(in: Self.chaosEnd - 4_000..<Self.chaosEnd - 600, using: &random),
            kind: .brokerKilled(.now, awayFor: Int64.random(in: 20...500, using: &random))))
      }
    }
    self.faults = faults.sorted { $0.time < $1.time }
  }

  /// Two tenants whose weights are 3 and 1 and whose tasks differ in size, and more work than the workers can do.
  private init(saturated seed: UInt64, _ random: inout SplitMix64) {
    self.seed = seed
    let stage = StageInfo(name: "stage0", resolution: 1, trainSteps: 100, defaultSteps: 5, defaultSampler: "ddpm")
    pipeline = PipelineInfo(name: "saturated", digest: sha256(Array("saturated".utf8)), labels: ["clay"], stages: [stage])
    var limits = BrokerLimits()
    limits.beatMilliseconds = 200
    limits.deadMilliseconds = 1_000
    limits.weights = ["alice": 3]
    self.limits = limits
    let stepMilliseconds = Int64.random(in: 10...60, using: &random)
    machines = (0..<Int.random(in: 1...3, using: &random)).map { copy in
      Machine(name: "w\(copy)", stage: 0, numerics: "cpu", slots: 2, prefetch: 0, bytes: 1 << 20, stepMilliseconds: stepMilliseconds)
    }
    let rivals = ["alice", "bob"]
    self.rivals = rivals
    let steps = [UInt32.random(in: 3...8, using: &random), UInt32.random(in: 3...8, using: &random)]
    // In work, bob has as much as alice, of which he gets to do a third while she is at hers.
    clients = (0..<2).map { index in
      let run = SampleRun(label: "clay", seed: random.next(), count: 1_200 / steps[index])
      let submission = Submission(
        runs: [run], options: [StageOptions(stage: "stage0", steps: steps[index])], key: "job \(index)", tenant: rivals[index])
      return Client(submission: submission, start: 0)
    }
    faults = []
    poison = []
  }

  /// A stage gets three workers at least, all of one numerics class, and one of them is a liar.
  private static func addLiar(to machines: inout [Machine], of pipeline: PipelineInfo, _ random: inout SplitMix64) -> Int? {
    let stage = Int.random(in: 0..<pipeline.stages.count, using: &random)
    while machines.count(where: { $0.stage == stage }) < 3 {
      machines.append(machine(stage, machines.count(where: { $0.stage == stage }), of: pipeline, &random))
    }
    let peers = machines.indices.filter { machines[$0].stage == stage }
    for index in peers { machines[index].numerics = "cpu" }
    guard let liar = peers.randomElement(using: &random) else { return nil }
    machines[liar].lies = true
    return liar
  }

  /// For drafts that are not written; none in most runs. From a stream of its own, for it came later than the rest.
  var draftBytes: Int {
    var random = SplitMix64.stream(seed, 1_000)
    return random.chance(0.4) ? Int.random(in: 12...400, using: &random) : 0
  }

  var hasLiars: Bool { machines.contains(where: \.lies) }

  private static func pipeline(_ random: inout SplitMix64) -> PipelineInfo {
    let count = Int.random(in: 1...3, using: &random)
    let stages = (0..<count).map { index in
      StageInfo(
        name: "stage\(index)", resolution: 1 << UInt32(index), trainSteps: 100, defaultSteps: UInt32.random(in: 2...10, using: &random),
        defaultSampler: "ddpm", defaultAug: index == 0 ? 0 : 10, takesAug: index > 0)
    }
    return PipelineInfo(name: "simulated", digest: sha256(Array("simulated \(stages)".utf8)), labels: ["clay", "wood"], stages: stages)
  }

  private static func limits(_ random: inout SplitMix64) -> BrokerLimits {
    var limits = BrokerLimits()
    limits.beatMilliseconds = 200
    limits.deadMilliseconds = 1_000
    limits.graceMilliseconds = 800
    limits.checkpointMilliseconds = random.chance(0.8) ? 100 : 0
    // Where a stalled task is not noticed, one that is forgotten stays forgotten.
    limits.stallMilliseconds = random.chance(0.4) ? 2_000 : 300_000
    limits.leastStallMilliseconds = limits.stallMilliseconds
    limits.maxAttempts = random.chance(0.3) ? 4 : 10_000
    limits.maxOpenTasks = random.chance(0.3) ? 18 : 200
    if random.chance(0.3) { limits.weights = ["alice": 3, "bob": 0.5] }
    limits.retryMilliseconds = 200
    return limits
  }

  private static func machine(_ stage: Int, _ copy: Int, of pipeline: PipelineInfo, _ random: inout SplitMix64) -> Machine {
    let slots = UInt32.random(in: 1...3, using: &random)
    let input = stage == 0 ? 0 : 12 << UInt64(2 * (stage - 1))
    // Sometimes bytes are scarcer than slots: room for one task with its checkpoint, or without.
    let bytes = random.chance(0.3) ? input + (random.chance(0.5) ? 32 : 0) : 1 << 20
    // Of one name and one process with those of the other stages, as a worker that serves several is to a broker.
    return Machine(
      name: "w\(copy)", stage: stage, numerics: random.chance(0.8) ? "cpu" : "gpu", slots: slots,
      prefetch: random.chance(0.5) ? UInt32.random(in: 1...2, using: &random) : 0, bytes: UInt64(bytes),
      stepMilliseconds: Int64.random(in: 10...120, using: &random))
  }

  static func samples(_ submission: Submission, of pipeline: PipelineInfo) -> Int {
    submission.runs.reduce(0) { $0 + Int($1.count) * ($1.label == "all" ? pipeline.labels.count : 1) }
  }

  private static func client(_ index: Int, of pipeline: PipelineInfo, _ random: inout SplitMix64) -> Client {
    var submission = Submission(
      runs: [
        SampleRun(
          label: random.chance(0.2) ? "all" : "wood", seed: random.next(), count: UInt32.random(in: 1...3, using: &random))
      ], key: "job \(index)")
    if random.chance(0.3) {
      submission.options = [StageOptions(stage: pipeline.stages[0].name, steps: UInt32.random(in: 1...12, using: &random))]
    }
    submission.truncated = pipeline.stages.count > 1 && random.chance(0.2)
    submission.tenant = ["", "alice", "bob"].randomElement(using: &random) ?? ""
    if random.chance(0.3) { submission.priority = Priority.allCases.randomElement(using: &random) ?? .normal }
    if random.chance(0.25) { submission.deadlineMilliseconds = UInt64.random(in: 200...8_000, using: &random) }
    var client = Client(
      submission: submission, start: Int64.random(in: 0...2_000, using: &random),
      cancelTime: random.chance(0.2) ? Int64.random(in: 0...chaosEnd, using: &random) : nil)
    if pipeline.stages.count > 1, random.chance(0.25) {
      let samples = UInt32(samples(submission, of: pipeline))
      client.submission.holdAfter = pipeline.stages[Int.random(in: 0..<pipeline.stages.count - 1, using: &random)].name
      client.keep = (0..<samples).filter { _ in random.chance(0.6) }
      if client.keep.isEmpty { client.keep = [UInt32.random(in: 0..<samples, using: &random)] }
      client.thinkTime = Int64.random(in: 0...1_500, using: &random)
    }
    client.retries = random.chance(0.5) ? Int.random(in: 1...2, using: &random) : 0
    client.forges = random.chance(0.1)
    return client
  }

  private static func fault(machines: Int, clients: Int, mayTakeLong: Bool, _ random: inout SplitMix64) -> Fault {
    let machine = Int.random(in: 0..<machines, using: &random)
    let client = Int.random(in: 0..<clients, using: &random)
    let party: Fault.Party = random.chance(0.7) ? .machine(machine) : .client(client)
    let direction: Fault.Direction = random.chance(0.5) ? .up : .down
    let away = Int64.random(in: 20...1_500, using: &random)
    let long = Int64.random(in: 100...2_500, using: &random)
    let kind: Fault.Kind =
      switch Int.random(in: 0..<33, using: &random) {
      case 0: .brokerKilled(.now, awayFor: away)
      case 1: .brokerKilled(.inCommit, awayFor: away)
      case 2: .brokerKilled(.afterCommit, awayFor: away)
      case 3: .brokerKilled(.afterMessages(Int.random(in: 1...4, using: &random)), awayFor: away)
      case 4: .brokerFrozen(long)
      case 5: random.chance(0.3) ? .commitFails(awayFor: away) : .diskFull(long)
      case 6: .checkpointsDamaged
      case 7: random.chance(0.3) ? .outputDamaged : .checkpointsDamaged
      case 8: .wallClockJumps(random.chance(0.5) ? 3_600_000 : -3_600_000)
      case 9...11: .workerKilled(machine, awayFor: away)
      case 12: .machineVanishes(machine, awayFor: away)
      case 13: .workerDrained(machine, awayFor: away)
      case 14...17: .workerFrozen(machine, long)
      case 18: .stepIsLong(machine, mayTakeLong ? 2 * long : long)
      case 19: .stepsFail(machine, Int.random(in: 1...4, using: &random))
      case 20: .bitFlips(machine)
      case 21...23: .connectionCut(party, broker: Int64.random(in: 0...1_500, using: &random), back: away)
      case 24...26: .connectionStalls(party, direction, long)
      case 27, 28: .messageDoubled(party, direction)
      case 29...31: .visit(client, random.next(), long)
      default: .clientKilled(client, awayFor: away)
      }
    return Fault(time: Int64.random(in: 0..<chaosEnd - 2_600, using: &random), kind: kind)
  }
}

extension SplitMix64 {
  /// The generator of one party, independent of all others.
  static func stream(_ seed: UInt64, _ party: UInt64, _ life: UInt64 = 0) -> SplitMix64 {
    var mix = SplitMix64(seed: seed ^ (party &* 0xd6e8_feb8_6659_fd93) ^ (life &* 0xa076_1d64_78bd_642f))
    return SplitMix64(seed: mix.next())
  }
}
