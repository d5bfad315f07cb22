import Testing

@testable import Broker

struct FairShareTests {
  /// Takes turns until `total` is spent, and says what each tenant got.
  func run(_ share: inout FairShare, _ costs: [String: [Double]], _ weights: [String: Double], total: Double) -> [String: Double] {
    var got: [String: Double] = [:]
    var turns: [String: Int] = [:]
    while got.values.reduce(0, +) < total, let tenant = share.next(where: { _ in true }) {
      let list = costs[tenant] ?? [1]
      let cost = list[turns[tenant, default: 0] % list.count]
      turns[tenant, default: 0] += 1
      got[tenant, default: 0] += cost
      share.charge(tenant, cost, weight: weights[tenant] ?? 1)
    }
    return got
  }

  @Test func workIsSharedByWeightWhateverTheTasksCost() {
    var share = FairShare()
    for tenant in ["a", "b", "c"] { share.activate(tenant) }
    let costs = ["a": [1.0], "b": [50, 3, 7], "c": [200]]
    let weights = ["a": 3.0, "c": 0.5]
    let got = run(&share, costs, weights, total: 100_000)
    let parts = ["a": 3.0, "b": 1, "c": 0.5].map { (got[$0.key] ?? 0) / $0.value }
    // No more than one task of each apart, divided by the weights.
    #expect((parts.max() ?? 0) - (parts.min() ?? 0) <= 50 + 200 / 0.5, "\(got)")
  }

  @Test func idlenessIsNeitherCreditNorDebt() {
    var share = FairShare()
    share.activate("a")
    for _ in 0..<1_000 { share.charge("a", 10, weight: 1) }
    share.activate("b")
    #expect(share.next(where: { _ in true }) == "b", "who returns is served at once, …")
    share.charge("b", 10, weight: 1)
    let got = run(&share, ["a": [10], "b": [10]], [:], total: 200)
    #expect(abs((got["a"] ?? 0) - (got["b"] ?? 0)) <= 20, "… and then no more than its share: \(got)")
    share.deactivate("b")
    share.activate("b")
    let again = run(&share, ["a": [10], "b": [10]], [:], total: 200)
    #expect(abs((again["a"] ?? 0) - (again["b"] ?? 0)) <= 20, "going and coming gains nothing: \(again)")
  }

  @Test func comingAndGoingGainsNothing() {
    var share = FairShare()
    share.activate("a")
    share.activate("b")
    var got = ["a": 0, "b": 0]
    for _ in 0..<1_000 {
      guard let tenant = share.next(where: { _ in true }) else { break }
      got[tenant, default: 0] += 1
      share.charge(tenant, 5, weight: 1)
      // b leaves after each of its tasks, and comes back at once.
      if tenant == "b" {
        share.deactivate("b")
        share.activate("b")
      }
    }
    #expect(abs((got["a"] ?? 0) - (got["b"] ?? 0)) <= 1, "\(got)")
  }

  @Test func whoMayNotGoIsPassedOverAndKeepsItsTurn() {
    var share = FairShare()
    share.activate("a")
    share.activate("b")
    #expect(share.next(where: { $0 != "a" }) == "b")
    share.charge("b", 100, weight: 1)
    #expect(share.next(where: { _ in true }) == "a")
    share.deactivate("a")
    share.deactivate("b")
    #expect(share.next(where: { _ in true }) == nil && share.isEmpty)
  }

  /// Names cost nothing, so what is remembered of each must not add up.
  @Test func tenantsThatComeOnceAreForgotten() {
    var share = FairShare()
    share.activate("worker")
    for number in 0..<5_000 {
      let tenant = "tenant\(number)"
      share.activate(tenant)
      share.charge(tenant, Double(1 + number % 7), weight: 1)
      share.deactivate(tenant)
      #expect(share.debtCount <= FairShare.maxDebts)
    }
    // The largest debts are the ones that are kept.
    share.activate("debtor")
    share.charge("debtor", 1_000, weight: 1)
    share.deactivate("debtor")
    for number in 0..<5_000 {
      let tenant = "other\(number)"
      share.activate(tenant)
      share.charge(tenant, 1, weight: 1)
      share.deactivate(tenant)
    }
    share.activate("debtor")
    #expect(share.next(where: { _ in true }) == "worker")
  }
}
