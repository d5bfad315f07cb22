import Logging
import Wire

/// Jobs that have to be done by a time: refused if they will not be, stopped once they cannot be.
extension BrokerCore {
  /// What part of the predicted time has to be there at least, for predictions are not exact.
  private static var certainty: Double { 0.9 }

  /// A deadline on the monotonic clock.
  func localDeadline(_ terms: JobTerms) -> Int64 {
    guard let deadline = terms.deadlineUnixMilliseconds else { return .max }
    let left = Int64(clamping: deadline) - Int64(clamping: unixNow)
    return now.addingReportingOverflow(left).overflow ? .max : now + left
  }

  mutating func expireDue() {
    while let id = deadlines.takeDue(at: now) {
      if jobs[id]?.ending == nil { expire(id, "its deadline has passed") }
    }
  }

  /// Stops jobs of which a running sample cannot be done in time any more, however fast the rest goes.
  mutating func expireHopeless() {
    let tasks = leases.all.filter { !$0.value.isTrial && jobs[$0.key.job]?.deadline != .max }.map(\.key)
    for task in tasks.sorted(by: TaskID.isOlder) {
      if let job = jobs[task.job], let late = lateness(of: job, Int(task.sample)) { expire(task.job, late) }
    }
  }

  /// Why a sample cannot be done by its job's deadline; `nil`: it may.
  func lateness(of job: Job, _ index: Int) -> String? {
    guard job.deadline != .max, job.ending == nil else { return nil }
    let sample = job.samples[index]
    guard let work = predictedWork(job, stage: sample.stage, step: sample.step), Double(now) + Self.certainty * work > Double(job.deadline)
    else {
      return nil
    }
    return "sample \(index) needs \(Int64(work)) ms more, and \(max(0, job.deadline - now)) ms were left"
  }

  mutating func expire(_ id: JobID, _ reason: String) {
    guard let job = jobs[id], job.ending == nil else { return }
    log(.info, "job \(id) expires: \(reason)")
    for (index, sample) in job.samples.enumerated() where sample.phase == .leased {
      revokeLease(TaskID(job: id, sample: UInt32(index), stage: UInt32(sample.stage)))
    }
    end(id, .expired)
  }
}
