import Broker
import Digests
import Wire
import Worker

/// What a seed means: the fleet, what its clients want, and what will go wrong. Everything random that happens later comes from generators
/// of their own, one for each party, so that leaving out a fault changes only what follows from it.
struct SimulationPlan {
  struct Machine {
    var name: String
    var stage: Int
    var numerics: String
    var slots: UInt32
    var bytes: UInt64
    var stepMilliseconds: Int64
  }

  struct Client {
    var submission: Submission
    var start: Int64
    /// When it changes its mind.
    var cancelTime: Int64?
  }

  let seed: UInt64
  let pipeline: PipelineInfo
  let limits: BrokerLimits
  let machines: [Machine]
  let clients: [Client]
  let faults: [Fault]
  /// Seeds of samples that no worker can compute.
  let poison: Set<UInt64>

  /// After this nothing goes wrong any more.
  static let chaosEnd: Int64 = 6_000
  /// By then every job has to be finished.
  static let end: Int64 = 150_000

  init(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    self.seed = seed
    let pipeline = Self.pipeline(&random)
    self.pipeline = pipeline
    limits = Self.limits(&random)
    var machines: [Machine] = []
    for stage in pipeline.stages.indices {
      for copy in 0..<Int.random(in: 1...3, using: &random) {
        machines.append(Self.machine(stage, copy, of: pipeline, &random))
      }
    }
    self.machines = machines
    var poison: Set<UInt64> = []
    var clients: [Client] = []
    for index in 0..<Int.random(in: 1...4, using: &random) {
      let client = Self.client(index, of: pipeline, &random)
      clients.append(client)
      if limits.maxAttempts < 100, random.chance(0.1) { poison.insert(client.submission.runs[0].seed) }
    }
    self.clients = clients
    self.poison = poison
    let machineCount = machines.count
    let clientCount = clients.count
    // Some runs are calm, some are wild.
    let count = Int.random(in: 0...(random.chance(0.3) ? 40 : 12), using: &random)
    let mayTakeLong = limits.stallMilliseconds < 10_000
    faults = (0..<count).map { _ in Self.fault(machines: machineCount, clients: clientCount, mayTakeLong: mayTakeLong, &random) }
      .sorted { $0.time < $1.time }
  }

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
    limits.retryMilliseconds = 200
    return limits
  }

  private static func machine(_ stage: Int, _ copy: Int, of pipeline: PipelineInfo, _ random: inout SplitMix64) -> Machine {
    let slots = UInt32.random(in: 1...3, using: &random)
    let input = stage == 0 ? 0 : 12 << UInt64(2 * (stage - 1))
    // Sometimes bytes are scarcer than slots: room for one task with its checkpoint, or without.
    let bytes = random.chance(0.3) ? input + (random.chance(0.5) ? 32 : 0) : 1 << 20
    return Machine(
      name: "w\(stage).\(copy)", stage: stage, numerics: random.chance(0.8) ? "cpu" : "gpu", slots: slots, bytes: UInt64(bytes),
      stepMilliseconds: Int64.random(in: 10...120, using: &random))
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
    return Client(
      submission: submission, start: Int64.random(in: 0...2_000, using: &random),
      cancelTime: random.chance(0.2) ? Int64.random(in: 0...chaosEnd, using: &random) : nil)
  }

  private static func fault(machines: Int, clients: Int, mayTakeLong: Bool, _ random: inout SplitMix64) -> Fault {
    let machine = Int.random(in: 0..<machines, using: &random)
    let client = Int.random(in: 0..<clients, using: &random)
    let party: Fault.Party = random.chance(0.7) ? .machine(machine) : .client(client)
    let direction: Fault.Direction = random.chance(0.5) ? .up : .down
    let away = Int64.random(in: 20...1_500, using: &random)
    let long = Int64.random(in: 100...2_500, using: &random)
    let kind: Fault.Kind =
      switch Int.random(in: 0..<30, using: &random) {
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
      default: .clientKilled(client, awayFor: away)
      }
    return Fault(time: Int64.random(in: 0..<chaosEnd - 2_600, using: &random), kind: kind)
  }
}

extension SplitMix64 {
  mutating func chance(_ probability: Double) -> Bool { unit() < probability }

  /// The generator of one party, independent of all others.
  static func stream(_ seed: UInt64, _ party: UInt64, _ life: UInt64 = 0) -> SplitMix64 {
    var mix = SplitMix64(seed: seed ^ (party &* 0xd6e8_feb8_6659_fd93) ^ (life &* 0xa076_1d64_78bd_642f))
    return SplitMix64(seed: mix.next())
  }
}
