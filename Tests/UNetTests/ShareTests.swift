import Testing

@testable import UNet

/// How a batch is divided into passes through the network.
@Suite struct ShareTests {
  @Test func threadsGetEqualShares() {
    func shares(_ count: Int, _ threads: Int, _ together: Int) -> [[Int]] {
      Share.all(count, threads: threads, together: together).map { [$0.samples.lowerBound, $0.samples.count, $0.threads] }
    }
    #expect(shares(8, 2, 4) == [[0, 4, 1], [4, 4, 1]])
    #expect(shares(8, 2, 3) == [[0, 2, 1], [2, 2, 1], [4, 2, 1], [6, 2, 1]])
    #expect(shares(5, 2, 4) == [[0, 2, 1], [2, 2, 1], [4, 1, 2]])
    #expect(shares(1, 2, 4) == [[0, 1, 2]])
    #expect(shares(2, 5, 4) == [[0, 1, 2], [1, 1, 2]])
    #expect(shares(3, 2, 1) == [[0, 1, 1], [1, 1, 1], [2, 1, 2]])
  }

  @Test func everySampleIsInOneShare() {
    for count in 1...20 {
      for threads in 1...5 {
        for together in 1...6 {
          let shares = Share.all(count, threads: threads, together: together)
          #expect(shares.flatMap(\.samples) == Array(0..<count))
          #expect(shares.allSatisfy { 1...together ~= $0.samples.count && 1...threads ~= $0.threads })
        }
      }
    }
  }
}
