import Wire

/// One of the states that a journal's files hold, while rows are salvaged from it.
struct SalvageState {
  let pages: JournalPages
  private let free: Set<UInt32>
  /// The pages to look at.
  private(set) var numbers: [UInt32]
  var jobs = SampleOwners()
  /// Damaged pages that had rows of which nothing is left, or are the overflow of rows.
  private var lost: Set<UInt32> = []
  private var overflow: Set<UInt32> = []

  init(_ pages: JournalPages) {
    self.pages = pages
    let free = pages.free
    self.free = free
    numbers = pages.count > 1 ? (2...pages.count).filter { !free.contains($0) } : []
  }

  /// - Parameter rows: of the page.
  mutating func look(at number: UInt32, _ rows: [StoredRow]) {
    guard !pages.damaged.isEmpty else { return }
    for row in rows { overflow.formUnion(row.overflow.filter { pages.damaged.contains($0) }) }
    if pages.hasLostRows(number) { lost.insert(number) }
  }

  /// Some pages had rows of which not even the ids are left, or are in the place of others.
  ///
  /// - Parameter older: a state before this one.
  func hasLostPages(since older: JournalPages) -> Bool {
    if pages.hasHomelessVersions || !lost.isSubset(of: overflow) { return true }
    // A page keeps some of its rows from one version to the next, or had none before.
    return pages.damaged.contains { number in
      let before = older.rows(number).filter { $0.table != nil }.map(\.id)
      return !before.isEmpty && number <= older.count && Set(before).isDisjoint(with: pages.rows(number).map(\.id))
    }
  }

  /// Leaves out the pages that are those of a newer state.
  ///
  /// - Parameter damaged: pages that have to be looked at again, because their rows go on elsewhere.
  mutating func leaveOut(_ newer: SalvageState, _ damaged: Set<UInt32>) {
    let all = Set(numbers)
    numbers.removeAll { number in
      number <= newer.pages.count && !newer.free.contains(number) && pages.version(number) == newer.pages.version(number)
        && !damaged.contains(number)
    }
    let left = Set(numbers)
    jobs.add(newer.jobs) { all.contains($0) && !left.contains($0) }
  }
}

/// Which jobs there are, and whose the samples and rows are.
struct SampleOwners {
  typealias Owner = (id: JobID, place: JobPlace)

  /// In the order of their samples once they are sorted, which looking for one takes.
  private var jobs: [(id: JobID, place: JobPlace, page: UInt32)] = []
  private var byRow: [Int64: Owner] = [:]

  mutating func add(_ id: JobID, _ place: JobPlace, _ page: UInt32) {
    guard byRow[place.row] == nil else { return }
    byRow[place.row] = (id, place)
    jobs.append((id, place, page))
  }

  mutating func add(_ others: SampleOwners, where isWanted: (UInt32) -> Bool = { _ in true }) {
    for job in others.jobs where isWanted(job.page) { add(job.id, job.place, job.page) }
  }

  mutating func sort() { jobs.sort { $0.place.first < $1.place.first } }

  /// Whether some of a job's samples are another's.
  func overlap(_ place: JobPlace) -> Bool {
    let next = index(after: place.samples.upperBound)
    return next > 0 && jobs[next - 1].place.samples.upperBound >= place.first
  }

  func owner(ofSample number: Int64) -> Owner? {
    let next = index(after: number)
    guard next > 0, jobs[next - 1].place.samples.contains(number) else { return nil }
    return (jobs[next - 1].id, jobs[next - 1].place)
  }

  func owner(ofRow row: Int64) -> Owner? { byRow[row] }

  /// Index of the first job whose samples all have greater numbers.
  private func index(after number: Int64) -> Int {
    var low = 0
    var high = jobs.count
    while low < high {
      let middle = (low + high) / 2
      if jobs[middle].place.first <= number { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
