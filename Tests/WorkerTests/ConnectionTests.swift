import Testing
import Wire
import Worker

@Suite struct ConnectionTests {
  @Test func arrives() throws {
    var harness = CoreHarness()
    #expect(harness.handle(.start) == [.locate])
    let dialled = harness.handle(.located(port: 7711))
    #expect(dialled.first == .dial(port: 7711))
    guard case .hello(let hello) = try #require(dialled.sent.first) else {
      Issue.record("\(dialled)")
      return
    }
    #expect(hello.stage == "base32" && hello.slots == 2 && hello.boot == 7 && hello.running.isEmpty)
    #expect(
      harness.command(.welcome(beatMilliseconds: 1000, deadMilliseconds: 3000, checkpointMilliseconds: 0)) == [.ready])
  }

  @Test func beatsWithWhatItHolds() {
    var harness = CoreHarness.live()
    #expect(harness.command(.assign(assignment(ref(1)))).toCompute.count == 1)
    _ = harness.handle(.compute(.stepped([TaskProgress(ref(1), step: 2)], stepMilliseconds: 5)))
    #expect(harness.wake().deeds == [.send(.beat(running: [TaskProgress(ref(1), step: 2)]))])
    #expect(harness.now == .seconds(101))
    _ = harness.command(.beat)
    #expect(harness.wake().deeds == [.send(.beat(running: [TaskProgress(ref(1), step: 2)]))])
  }

  @Test func leavesASilentBrokerAndComesBack() throws {
    var harness = CoreHarness.live()
    _ = harness.command(.assign(assignment(ref(1))))
    var resumed = assignment(ref(2))
    resumed.checkpoint = TaskCheckpoint(step: 1, tensors: [])
    _ = harness.command(.assign(resumed))
    _ = harness.handle(.compute(.stepped([TaskProgress(ref(1), step: 2), TaskProgress(ref(2), step: 2)], stepMilliseconds: 5)))
    let lost = harness.pass(.seconds(3))
    #expect(lost.deeds.last == .hangUp)
    #expect(lost.notes.contains { $0.contains("silent for 3.0 s") })
    // What ends while nobody listens is kept.
    #expect(harness.handle(.compute(.finished(try result(ref(1)), steps: 3))).isEmpty)
    #expect(harness.wake() == [.locate])
    let back = harness.welcome()
    guard case .hello(let hello) = try #require(back.sent.first) else {
      Issue.record("\(back)")
      return
    }
    #expect(hello.running.map(\.task) == [ref(2), ref(1)] && hello.running.map(\.step) == [2, 3])
    // What a broker that was restarted can't know.
    #expect(hello.running.map(\.firstStep) == [1, 0])
    #expect(hello.running.allSatisfy { $0.runningMilliseconds == UInt64((harness.now - .seconds(100)) / .milliseconds(1)) })
    #expect(back.sent.dropFirst() == [.result(try result(ref(1)))])
    #expect(!back.contains(.ready))
  }

  @Test func anyCommandIsASignOfLife() {
    var harness = CoreHarness.live()
    for round in 0..<10 {
      #expect(!harness.pass(.milliseconds(2500)).contains(.hangUp), "round \(round)")
      _ = harness.command(round % 2 == 0 ? .beat : .settled(ref(9)))
    }
  }

  @Test func obeysADisconnect() {
    var harness = CoreHarness.live()
    let actions = harness.command(.disconnect(reason: "never heard of you"))
    #expect(actions.deeds == [.hangUp])
    #expect(actions.notes.contains { $0.contains("never heard of you") })
    #expect(harness.wake() == [.locate])
  }

  @Test func ignoresWorkBeforeTheWelcome() {
    var harness = CoreHarness()
    #expect(harness.command(.assign(assignment(ref(1)))).isEmpty)
    _ = harness.handle(.start)
    #expect(harness.command(.assign(assignment(ref(1)))).isEmpty)
    _ = harness.handle(.located(port: 1))
    #expect(harness.command(.assign(assignment(ref(1)))).isEmpty)
    #expect(harness.command(.drain).isEmpty)
    #expect(harness.core.running.isEmpty)
  }

  @Test(arguments: [0, 65_536, UInt32.max]) func distrustsThePort(_ port: UInt32) {
    var harness = CoreHarness()
    _ = harness.handle(.start)
    #expect(harness.handle(.located(port: port)) == [.hangUp])
    #expect(harness.wake() == [.locate])
  }

  @Test func backsOffWithJitterFromItsSeed() {
    func pauses(_ seed: UInt64) -> [Duration] {
      var harness = CoreHarness(seed: seed)
      _ = harness.handle(.start)
      var pauses: [Duration] = []
      for _ in 0..<12 {
        _ = harness.handle(.locateFailed(reason: "no"))
        let down = harness.now
        while !harness.wake().contains(.locate) {}
        pauses.append(harness.now - down)
      }
      return pauses
    }
    let one = pauses(1)
    #expect(one == pauses(1))
    #expect(one != pauses(2))
    for (index, pause) in one.enumerated() {
      let full = min(WorkerCore.firstBackOff * (1 << index), WorkerCore.longestBackOff)
      #expect(pause >= full * 0.5 && pause <= full, "pause \(index): \(pause)")
    }
  }

  @Test func aWelcomeEndsTheBackingOff() {
    var harness = CoreHarness()
    _ = harness.handle(.start)
    for _ in 0..<6 {
      _ = harness.handle(.locateFailed(reason: "no"))
      while !harness.wake().contains(.locate) {}
    }
    _ = harness.welcome()
    _ = harness.command(.disconnect(reason: "restart"))
    let down = harness.now
    while !harness.wake().contains(.locate) {}
    #expect(harness.now - down <= WorkerCore.firstBackOff)
  }

  @Test func saysEveryFewSecondsThatNobodyAnswers() {
    var harness = CoreHarness()
    _ = harness.handle(.start)
    let actions = harness.pass(.seconds(31))
    #expect(actions.notes.count == 6)
    #expect(actions.notes.allSatisfy { $0.contains("no broker at tcp://broker:7710") && $0.contains("still trying") })
    #expect(actions.filter { $0 == .locate }.count > 5)
    #expect(actions.departure == nil)
  }

  @Test func givesUpWhenToldTo() {
    var harness = CoreHarness(connectTimeout: .seconds(4))
    _ = harness.handle(.start)
    let actions = harness.pass(.seconds(60))
    guard case .gaveUp(let reason) = actions.departure else {
      Issue.record("\(actions)")
      return
    }
    #expect(reason.contains("no broker at tcp://broker:7710 within 4.0 s"))
    #expect(actions.last == .leave(.gaveUp(reason: reason)))
    #expect(harness.core.nextWake == nil)
  }

  @Test func countsTheTimeoutFromWhenTheBrokerWasLost() {
    var harness = CoreHarness(connectTimeout: .seconds(4))
    _ = harness.handle(.start)
    _ = harness.pass(.seconds(3))
    _ = harness.handle(.tick)
    while !harness.wake().contains(.locate) {}
    _ = harness.welcome(beat: 1000, dead: 30_000)
    #expect(harness.pass(.seconds(20)).departure == nil)
    _ = harness.command(.disconnect(reason: ""))
    let lost = harness.now
    while harness.wake().departure == nil {}
    #expect(harness.now - lost == .seconds(4))
  }

  @Test func saysWhyAHelloIsTurnedDown() {
    var harness = CoreHarness()
    _ = harness.handle(.start)
    _ = harness.handle(.located(port: 7711))
    let away = harness.command(.disconnect(reason: "another pipeline of that name"))
    #expect(away.deeds == [.hangUp] && away.notes == ["turned away: another pipeline of that name; still trying"])
    #expect(harness.pass(.seconds(6)).notes.contains { $0.contains("still trying") })
  }

  /// Said at once, but not with each attempt; and it comes in as soon as it is let in.
  @Test func comesBackThoughItIsTurnedAway() {
    var harness = CoreHarness()
    _ = harness.handle(.start)
    for attempt in 0..<3 {
      let away = harness.handle(.turnedAway(reason: "unknown key"))
      #expect(away.deeds == [.hangUp] && away.notes == (attempt == 0 ? ["turned away: unknown key; still trying"] : []))
      #expect(harness.handle(.turnedAway(reason: "unknown key")).isEmpty)
      while !harness.wake().contains(.locate) {}
    }
    _ = harness.handle(.located(port: 7711))
    #expect(harness.handle(.turnedAway(reason: "not for this stage")).notes.count == 1)
    while !harness.wake().contains(.locate) {}
    _ = harness.handle(.located(port: 7711))
    #expect(harness.command(.welcome(beatMilliseconds: 1000, deadMilliseconds: 3000, checkpointMilliseconds: 0)).contains(.ready))
    #expect(harness.handle(.turnedAway(reason: "taken off the list")).notes.contains { $0.contains("taken off the list") })
  }
}
