/// Start-time fair queueing (Goyal, Vin, Cheng 1996): whose turn it is, among tenants with work, so that they get work done in proportion to
/// their weights.
///
/// Each turn has a start tag: where the tenant's last turn ended, cost divided by weight later than it began, but not before the tags that are
/// being served now. The lowest tag goes first. While two tenants both have work, what they were given differs, each divided by its weight, by
/// no more than one task of each; a tenant that returns from idleness is served at once, and gets no credit for its absence.
struct FairShare {
  private struct Turn: Comparable {
    var start: Double
    var tenant: String

    static func < (a: Self, b: Self) -> Bool { (a.start, a.tenant) < (b.start, b.tenant) }
  }

  /// The start tag served last.
  private var now = 0.0
  /// Where idle tenants' last turns ended, if that is still ahead. Of too many the smallest are remitted: tenants may be anybody's inventions.
  private var debts: [String: Double] = [:]
  /// How many there may be before those that time has paid are looked for.
  private var patience = 64
  static let maxDebts = 1_024
  /// Of the tenants with work, the next first.
  private var turns: [Turn] = []

  var isEmpty: Bool { turns.isEmpty }
  var debtCount: Int { debts.count }

  /// The tenant has work from now on.
  mutating func activate(_ tenant: String) {
    insert(Turn(start: max(now, debts.removeValue(forKey: tenant) ?? now), tenant: tenant))
  }

  /// The first of the tenants with work who may take their turn.
  func next(where mayGo: (String) -> Bool) -> String? {
    turns.first { mayGo($0.tenant) }?.tenant
  }

  /// A tenant with work took its turn.
  ///
  /// - Parameter cost: in any unit, the same for all tenants.
  mutating func charge(_ tenant: String, _ cost: Double, weight: Double) {
    guard let turn = remove(tenant) else { return }
    now = max(now, turn.start)
    insert(Turn(start: turn.start + cost / weight, tenant: tenant))
  }

  /// The tenant has no work any more.
  mutating func deactivate(_ tenant: String) {
    guard let turn = remove(tenant) else { return }
    if turn.start > now { debts[tenant] = turn.start }
    guard debts.count > patience else { return }
    debts = debts.filter { $0.value > now }
    if debts.count > Self.maxDebts / 2 {
      let kept = debts.sorted { ($0.value, $0.key) > ($1.value, $1.key) }.prefix(Self.maxDebts / 2)
      debts = Dictionary(uniqueKeysWithValues: kept.map { ($0.key, $0.value) })
    }
    patience = min(2 * debts.count + 64, Self.maxDebts - 1)
  }

  private mutating func insert(_ turn: Turn) {
    var low = 0
    var high = turns.count
    while low < high {
      let middle = (low + high) / 2
      if turns[middle] < turn { low = middle + 1 } else { high = middle }
    }
    turns.insert(turn, at: low)
  }

  private mutating func remove(_ tenant: String) -> Turn? {
    turns.firstIndex { $0.tenant == tenant }.map { turns.remove(at: $0) }
  }
}
