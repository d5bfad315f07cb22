/// A promise that was broken.
package struct Violation: Hashable, Sendable, CustomStringConvertible {
  package enum Rule: String, Sendable, CaseIterable {
    case durableBeforeSent = "a message leaves only after the records before it are on disk"
    case accepted = "what was acknowledged is on disk and stays there"
    case records = "records follow from one another"
    case disk = "what a restart would find is what the broker knows"
    case tables = "the broker's tables agree, and hold no more than there is work"
    case oneLease = "a task has one lease at a time"
    case attempts = "attempt numbers only grow"
    case credit = "no worker is given more than its credit"
    case fencing = "messages about an old attempt do not touch the present one"
    case eviction = "no task is taken from a worker that is heard from and makes progress"
    case settled = "every report of a worker is settled, once its effect is on disk"
    case answers = "every request has one answer"
    case watchers = "whoever watches a job is told of its end"
    case bytes = "every output equals the oracle's"
    case resume = "a task goes on from its last checkpoint"
    case history = "a history tells from which step each attempt went on"
    case givenUp = "a sample is given up only after so many failures"
    case cancelled = "a cancelled job is at rest"
    case admission = "no more is accepted than the limits allow"
    case terms = "a job is what its client asked for, and no other tenant's"
    case deadlines = "no job runs past its deadline, and none that could be done in time is given up or begun in vain"
    case holds = "what is held goes on only if it is chosen"
    case priorities = "nothing goes before waiting work of a higher class"
    case shares = "tenants that keep the fleet busy get it by their weights"
    case quarantine = "who is caught with a wrong result gets no more work, and nobody else"
    case timers = "the broker does not spin"
    case clients = "clients are told the truth"
    case liveness = "once nothing goes wrong any more, every job finishes"
  }

  package var rule: Rule
  package var what: String

  package var description: String { "\(rule.rawValue): \(what)" }
}
