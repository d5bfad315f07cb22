import Diffusion
import Testing

@Suite struct RespacingTests {
  struct Known: Sendable {
    var steps: Int
    var specification: String
    var head, tail: [Int]
    var count: Int
  }

  @Test(arguments: [
    Known(steps: 1000, specification: "250", head: [0, 4, 8], tail: [991, 995, 999], count: 250),
    Known(steps: 1000, specification: "25", head: [0, 42, 83, 125, 166], tail: [957, 999], count: 25),
    Known(steps: 1000, specification: "ddim25", head: [0, 40], tail: [960], count: 25),
    Known(steps: 4000, specification: "100", head: [0, 40, 81, 121, 162], tail: [3959, 3999], count: 100),
    Known(steps: 4000, specification: "250", head: [0, 16, 32], tail: [3983, 3999], count: 250),
    Known(steps: 1000, specification: "10,10,3,2,2", head: [0, 22, 44, 66, 88, 111], tail: [600, 799, 800, 999], count: 27),
    Known(steps: 1000, specification: "5", head: [0, 250, 500, 749, 999], tail: [999], count: 5),
    Known(steps: 1000, specification: "", head: [0, 1], tail: [999], count: 1000),
    Known(steps: 1000, specification: "1", head: [0], tail: [0], count: 1),
    Known(steps: 10, specification: "1,1,1", head: [0, 4, 7], tail: [7], count: 3),
  ]) func known(_ known: Known) throws {
    let indices = try Respacing.indices(known.specification, trainSteps: known.steps)
    #expect(indices.count == known.count)
    #expect(Array(indices.prefix(known.head.count)) == known.head)
    #expect(Array(indices.suffix(known.tail.count)) == known.tail)
    #expect(zip(indices, indices.dropFirst()).allSatisfy { $0 < $1 })
  }

  @Test(arguments: ["0", "-1", "1001", "ddim", "ddim0", "ddim999", "ddim1001", "a", "5,", ",", "5,x", "501,1", "9999999999999999999999"])
  func refuses(_ specification: String) {
    #expect(throws: DiffusionError.self) { try Respacing.indices(specification, trainSteps: 1000) }
  }
}
