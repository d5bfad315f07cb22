import Testing

@testable import Load

@Suite struct LinkTests {
  @Test func qualitiesAreRead() throws {
    let quality = try LinkQuality("delay=5ms,rate=1.5gbit,loss=0.1%")
    #expect(quality.delay == 0.005 && quality.bitsPerSecond == 1.5e9 && abs(quality.loss - 0.001) < 1e-12)
    #expect(try LinkQuality("delay=250us").delay == 250e-6 && LinkQuality("rate=64kbit").bitsPerSecond == 64_000)
  }

  @Test(arguments: [
    ("", ""), ("delay", "delay"), ("delay=5", "delay=5"), ("delay=-1ms", "delay"), ("delay=2000s", "minute"), ("rate=1", "rate"),
    ("rate=0mbit", "rate"), ("loss=101%", "loss"), ("loss=0.1", "loss"), ("jitter=1ms", "jitter"), ("delay=nanms", "delay"),
  ]) func mistakesAreNamed(_ text: String, _ word: String) {
    #expect { try LinkQuality(text) } throws: { "\($0)".contains(word) }
  }

  @Test func packetsTakeTheDelay() throws {
    var link = Link(try LinkQuality("delay=5ms"), seed: 1)
    #expect(link.send(bytes: 9_000, at: 1) == 1.005 && link.send(bytes: 9_000, at: 1) == 1.005)
  }

  /// 1,000 bytes take a millisecond at 8 Mbit/s, and wait for those before them.
  @Test func aLineHasARateAndABuffer() throws {
    var link = Link(try LinkQuality("delay=10ms,rate=8mbit"), seed: 1)
    let arrivals = (0..<200).compactMap { _ in link.send(bytes: 1_000, at: 0) }
    #expect(arrivals == arrivals.sorted() && abs(arrivals[0] - 0.011) < 1e-12)
    // A tenth of a second's worth waits, and the packet on the line; the others are dropped.
    #expect((100...102).contains(arrivals.count), "\(arrivals.count)")
    // Later there is room again, and an idle line has saved nothing up.
    let later = link.send(bytes: 1_000, at: 5) ?? 0
    #expect(abs(later - 5.011) < 1e-12)
  }

  @Test func losesAsManyAsItShouldAndTheSameOnes() throws {
    func lost(_ seed: UInt64) throws -> [Bool] {
      var link = Link(try LinkQuality("loss=10%"), seed: seed)
      return (0..<10_000).map { link.send(bytes: 100, at: Double($0)) == nil }
    }
    let first = try lost(3)
    #expect((900...1_100).contains(first.count { $0 }), "\(first.count { $0 })")
    #expect(try first == lost(3) && first != lost(4))
  }

  @Test func nothingPassesWhatIsCut() throws {
    var link = Link(try LinkQuality("delay=5ms"), seed: 1)
    link.isCut = true
    #expect(link.send(bytes: 1, at: 0) == nil)
    link.isCut = false
    #expect(link.send(bytes: 1, at: 1) != nil)
  }

  /// Workers in proportion to their stages' work: each stage could make 100 images a second.
  @Test func theIdealIsTheSlowestStages() {
    var plan = OwnFleet.Plan(
      executables: "", workers: ["sr64": 2, "sr256": 4], stepMilliseconds: 10, slots: 1, machines: 0, link: LinkQuality(), cuts: [],
      data: nil,
      seed: 1)
    let steps: [String: UInt32] = ["base32": 1, "sr64": 2, "sr256": 4]
    #expect(plan.idealPerSecond(steps: steps) == 100)
    plan.workers["sr64"] = 1
    #expect(plan.idealPerSecond(steps: steps) == 50)
    plan.slots = 3
    #expect(plan.idealPerSecond(steps: steps) == 150)
    // 20, 10 and 5 steps are the pipeline's own: 3 slots, 10 ms a step.
    #expect(plan.idealPerSecond(steps: [:]) == 15)
    #expect(plan.computeMilliseconds(steps: steps) == 70 && plan.computeMilliseconds(steps: [:]) == 350)
  }
}
