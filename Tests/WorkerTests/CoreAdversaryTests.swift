import SeededRandom
import Testing
import Wire
import Worker

/// Random lives: whatever comes in whatever order, the core keeps its promises.
@Suite struct CoreAdversaryTests {
  @Test(arguments: 0..<200) func keepsItsPromises(seed: Int) throws {
    var random = SplitMix64(seed: UInt64(seed))
    let slots = UInt32.random(in: 1...3, using: &random)
    var harness = CoreHarness(slots: slots, seed: random.next())
    // What the compute thread would have in hand, and what the core owes the broker.
    var computing: Set<TaskRef> = []
    var revoked: Set<TaskRef> = []
    var owed: [TaskRef: WorkerMessage] = [:]
    var isLive = false
    var gone = false

    func follow(_ actions: [WorkerCore.Action], _ event: String) {
      #expect(!gone || actions.isEmpty, "seed \(seed): acted after leaving on \(event)")
      for action in actions {
        switch action {
        case .locate, .hangUp, .dial: isLive = false
        case .send(.hello): break
        case .send(let message):
          #expect(isLive, "seed \(seed): sent \(message) on \(event) without a welcome")
        case .compute(.start(let assignment)): #expect(computing.insert(assignment.task).inserted, "seed \(seed): started twice")
        case .compute(.drop(let task)): revoked.insert(task)
        case .compute(.checkpoint), .compute(.drain), .ready, .note: break
        case .leave: gone = true
        }
      }
      #expect(harness.core.running.count <= Int(slots), "seed \(seed): more tasks than slots after \(event)")
      #expect(
        Set(harness.core.running.map(\.task)) == computing.subtracting(revoked), "seed \(seed): lost track of tasks after \(event)")
      if let wake = harness.core.nextWake { #expect(wake > harness.now, "seed \(seed): would spin after \(event)") }
    }

    follow(harness.handle(.start), "start")
    for round in 0..<300 where !gone {
      harness.now += .milliseconds(Int.random(in: 0...400, using: &random))
      follow(harness.pass(.zero), "tick")
      if gone { break }
      let task = ref(.random(in: 0..<6, using: &random), attempt: .random(in: 1...3, using: &random))
      switch Int.random(in: 0..<14, using: &random) {
      case 0:
        follow(harness.handle(.located(port: 7711)), "located")
      case 1, 2:
        let actions = harness.command(.welcome(beatMilliseconds: 500, deadMilliseconds: 1500, checkpointMilliseconds: 300))
        if actions.contains(.ready) || actions.notes.contains(where: { $0.contains("back with") }) {
          isLive = true
          #expect(Set(actions.sent) == Set(owed.values), "seed \(seed): did not send again what it owes")
        }
        follow(actions, "welcome")
      case 3, 4, 5: follow(harness.command(.assign(assignment(task))), "assign \(task)")
      case 6:
        if isLive { owed[task] = nil }
        follow(harness.command(.revoke(task)), "revoke \(task)")
      case 7:
        if isLive { owed[task] = nil }
        follow(harness.command(.settled(task)), "settled \(task)")
      case 8: follow(harness.command(.beat), "beat")
      case 9: if Int.random(in: 0..<4, using: &random) == 0 { follow(harness.command(.disconnect(reason: "x")), "disconnect") }
      case 10, 11:
        guard let one = computing.sorted(by: { $0.description < $1.description }).randomElement(using: &random) else { break }
        follow(harness.handle(.compute(.stepped([TaskProgress(one, step: 1)], stepMilliseconds: 1))), "step \(one)")
      case 12:
        guard let one = computing.sorted(by: { $0.description < $1.description }).randomElement(using: &random) else { break }
        let message = WorkerMessage.result(try result(one))
        computing.remove(one)
        if revoked.remove(one) == nil { owed[one] = message }
        follow(harness.handle(.compute(.finished(try result(one), steps: 3))), "finished \(one)")
      default:
        guard let one = revoked.sorted(by: { $0.description < $1.description }).first else { break }
        computing.remove(one)
        revoked.remove(one)
        follow(harness.handle(.compute(.dropped(one))), "dropped \(one)")
      }
      if round == 280, seed % 2 == 0 {
        follow(harness.handle(.drain), "drain")
        if !gone {
          computing = []
          revoked = []
          follow(harness.handle(.compute(.drained)), "drained")
        }
      }
    }
    if seed % 2 == 0 {
      follow(harness.pass(.seconds(3)), "time")
      #expect(gone, "seed \(seed): did not leave")
    }
  }
}
