package import Wire

/// Drafts that are in memory and nowhere else: outputs of stages that the next stage takes up at once.
///
/// Their bytes are what the seed makes them, so a sample whose draft went with the broker is made again, byte for byte. What has no room here is
/// written, as is everything that a client may have been told of.
package struct DraftMemory {
  private struct Place: Hashable {
    var sample: UInt32
    var stage: UInt32
  }

  private struct Draft {
    var outcome: StageOutcome
    var output: WireTensor
  }

  private var drafts: [JobID: [Place: Draft]] = [:]
  private(set) var bytes = 0
  private let limit: Int

  /// - Parameter limit: bytes held at most; 0: every draft is written.
  package init(limit: Int) { self.limit = limit }

  package subscript(key: TensorKey) -> WireTensor? { drafts[key.job]?[Place(sample: key.sample, stage: key.stage)]?.output }

  /// Keeps and drops what the record is about.
  ///
  /// - Returns: what is to be written.
  package mutating func take(_ record: Record) -> Record {
    switch record {
    case .draftDone(let task, let outcome, let output):
      drop(before: task)
      guard Int(outcome.bytes) <= limit - bytes else { return .stageDone(task, outcome, output: output) }
      drafts[task.job, default: [:]][Place(sample: task.sample, stage: task.stage)] = Draft(outcome: outcome, output: output)
      bytes += Int(outcome.bytes)
    case .stageDone(let task, _, _): drop(before: task)
    case .restarted(let ref): drop(ref.task.job) { $0.sample == ref.task.sample }
    case .chosen(let job, let cancelled):
      let samples = Set(cancelled)
      drop(job) { samples.contains($0.sample) }
    case .finished(let job, _, _), .forgotten(let job): drop(job) { _ in true }
    default: break
    }
    return record
  }

  /// Of all drafts, to write them before the memory goes; they stay here.
  package var records: [Record] {
    drafts.flatMap { job, drafts in
      drafts.map { place, draft in
        .draftKept(TaskID(job: job, sample: place.sample, stage: place.stage), draft.outcome, output: draft.output)
      }
    }
  }

  private mutating func drop(before task: TaskID) {
    guard task.stage > 0, let draft = drafts[task.job]?.removeValue(forKey: Place(sample: task.sample, stage: task.stage - 1))
    else { return }
    bytes -= Int(draft.outcome.bytes)
    if drafts[task.job]?.isEmpty == true { drafts[task.job] = nil }
  }

  private mutating func drop(_ job: JobID, where isMeant: (Place) -> Bool) {
    guard let all = drafts.removeValue(forKey: job) else { return }
    let rest = all.filter { !isMeant($0.key) }
    bytes -= Self.bytes(of: all) - Self.bytes(of: rest)
    if !rest.isEmpty { drafts[job] = rest }
  }

  private static func bytes(of drafts: [Place: Draft]) -> Int { drafts.values.reduce(0) { $0 + Int($1.outcome.bytes) } }
}
