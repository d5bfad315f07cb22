package import Broker
import Wire

/// Arrivals as they were: a CSV of `time,tenant,label,count,priority,deadline`, a line a job.
///
/// Times are seconds from the first arrival, ascending; a deadline is in seconds from the arrival, or empty.
package struct ArrivalTrace: Hashable, Sendable {
  package struct Entry: Hashable, Sendable {
    package var time: Double
    package var kind: JobMix.Kind
  }

  package static let header = "time,tenant,label,count,priority,deadline"

  package private(set) var entries: [Entry]

  /// - Throws: `Broken`, which names the line.
  package init(csv text: String) throws(Broken) {
    entries = []
    let lines = text.split(whereSeparator: \.isNewline)
    guard lines.first.map(String.init) == Self.header else { throw Broken("a trace begins with the line \(Self.header)") }
    for (index, line) in lines.enumerated().dropFirst() {
      let fields = line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      guard fields.count == 6, let time = Double(fields[0]), time >= entries.last?.time ?? 0, let count = UInt32(fields[3]), count > 0,
        let priority = Priority(fields[4]), fields[5].isEmpty || Double(fields[5]).map({ $0 > 0 && $0 < 1e9 }) == true
      else {
        throw Broken("line \(index + 1) of the trace, '\(line)', is not \(Self.header), times ascending, the deadline in seconds or empty")
      }
      var kind = JobMix.Kind()
      kind.tenant = fields[1]
      kind.label = fields[2].isEmpty ? nil : fields[2]
      kind.count = count
      kind.priority = priority
      kind.deadline = Double(fields[5])
      entries.append(Entry(time: time, kind: kind))
    }
    guard !entries.isEmpty else { throw Broken("the trace has no jobs") }
  }

  /// What a broker's journal remembers. A job's samples of one label after the other become one entry each.
  package init(_ snapshot: Snapshot) throws(Broken) {
    let jobs = snapshot.jobs.map(\.record).sorted { ($0.submittedUnixMilliseconds, $0.id) < ($1.submittedUnixMilliseconds, $1.id) }
    guard let first = jobs.first else { throw Broken("the journal remembers no jobs") }
    entries = jobs.flatMap { job in
      let time = Double(job.submittedUnixMilliseconds - first.submittedUnixMilliseconds) / 1_000
      var counts: [(label: UInt32, count: UInt32)] = []
      for sample in job.samples {
        if counts.last?.label == sample.label { counts[counts.count - 1].count += 1 } else { counts.append((sample.label, 1)) }
      }
      return counts.map { label, count in
        var kind = JobMix.Kind()
        kind.tenant = job.terms.tenant
        kind.label = "\(label)"
        kind.count = count
        kind.priority = job.terms.priority
        kind.deadline = job.terms.deadlineUnixMilliseconds.map { Double($0 - min($0, job.submittedUnixMilliseconds)) / 1_000 }
        return Entry(time: time, kind: kind)
      }
    }
  }

  /// As a run takes it: the kinds of jobs in it, and when one of which kind arrives.
  package var load: (mix: JobMix, pattern: ArrivalPattern) {
    var kinds: [JobMix.Kind] = []
    var indices: [JobMix.Kind: Int] = [:]
    let arrivals = entries.map { entry in
      let index = indices[entry.kind] ?? kinds.count
      if index == kinds.count {
        indices[entry.kind] = index
        kinds.append(entry.kind)
      }
      return (time: entry.time, kind: index)
    }
    return (JobMix(kinds: kinds), .trace(arrivals))
  }

  package var csv: String {
    let lines = entries.map { entry in
      let kind = entry.kind
      let deadline = kind.deadline.map { "\($0)" } ?? ""
      return "\(entry.time),\(kind.tenant),\(kind.label ?? ""),\(kind.count),\(kind.priority.text),\(deadline)"
    }
    return ([Self.header] + lines).joined(separator: "\n") + "\n"
  }
}
