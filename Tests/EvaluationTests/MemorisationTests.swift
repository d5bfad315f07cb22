import Tensors
import Testing

@testable import Evaluation

@Suite struct MemorisationTests {
  private func set(_ values: [Float], paths: [String]? = nil) throws -> FeatureSet {
    try FeatureSet(features: Tensor(values, shape: [values.count, 1]), paths: paths)
  }

  @Test func theNearestPairsAreNamed() throws {
    let training = try set([0, 10, 20, 30], paths: ["t0", "t1", "t2", "t3"])
    let heldOut = try set([1, 12, 23, 34], paths: ["h0", "h1", "h2", "h3"])
    let generated = try set([13, 20.5, 4, 30.25], paths: ["g0", "g1", "g2", "g3"])
    let found = try Memorisation(generated: generated, heldOut: heldOut, training: training, pairs: 3)
    #expect(found.heldOutFirstPercentile == 1 && found.generatedFirstPercentile == 0.25 && found.nearerThanHeldOut == 2)
    #expect(found.nearestPairs.map(\.image) == ["g3", "g1", "g0"] && found.nearestPairs.map(\.trainingImage) == ["t3", "t2", "t1"])
    #expect(found.nearestPairs.map(\.distance) == [0.25, 0.5, 3])
    // Features of a file have no names.
    let unnamed = try Memorisation(generated: set([13, 20.5]), heldOut: heldOut, training: training, pairs: 3)
    #expect(unnamed.nearestPairs.map(\.image) == ["1", "0"])
  }

  @Test func thePercentileIsOfAHundredth() throws {
    let training = try set([0, 1_000])
    // 1, 2, …, 200 away: two of them are nearer than 3.
    let heldOut = try set((1...200).map { Float($0) })
    let found = try Memorisation(generated: try set([2.5, 3.5, 400]), heldOut: heldOut, training: training)
    #expect(found.heldOutFirstPercentile == 3 && found.nearerThanHeldOut == 1)
  }
}
