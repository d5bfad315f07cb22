/// Samples of a job on a command line: 0,3,5-7.
package enum SampleNumbers {
  package static func parse(_ text: String, flag: String) throws(UsageError) -> [UInt32] {
    var numbers: Set<UInt32> = []
    for item in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = item.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map { UInt32($0) }
      guard let first = ends[0], let last = ends.count == 2 ? ends[1] : first, first <= last, last - first < 1 << 20 else {
        throw UsageError("\(flag) '\(item)' names no samples: write numbers from 0 on, like \(flag) 0,3,5-7")
      }
      numbers.formUnion(first...last)
    }
    return numbers.sorted()
  }
}
