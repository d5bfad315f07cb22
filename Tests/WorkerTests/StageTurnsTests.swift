import Testing

@testable import Worker

@Suite struct StageTurnsTests {
  @Test func theFullestStageGoesFirst() {
    var turns = StageTurns(stages: 3)
    #expect(turns.next([0, 0, 0]) == nil)
    #expect(turns.next([0.25, 1, 0.5]) == 1)
    // Of equals the last.
    #expect(turns.next([0.5, 0, 0.5]) == 2)
  }

  @Test func noneWaitsForLong() {
    var turns = StageTurns(stages: 3)
    var last = [0, 0, 0]
    for turn in 1...100 {
      let next = turns.next([0.25, 1, 0.5])
      if let next { last[next] = turn }
      #expect(last.allSatisfy { turn - $0 <= StageTurns.patience + 3 }, "turn \(turn): \(last)")
    }
    // Whoever had nothing to do was not passed over.
    var idle = StageTurns(stages: 2)
    for _ in 0..<50 { #expect(idle.next([1, 0]) == 0) }
    #expect(idle.next([1, 0.5]) == 0)
  }
}
