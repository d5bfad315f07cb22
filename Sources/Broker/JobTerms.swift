package import Wire

/// On what terms a job was accepted.
package struct JobTerms: Hashable, Sendable {
  /// Who asks, unless the submission says.
  package static let defaultTenant = "default"

  package var tenant: String
  package var priority: Priority
  package var deadlineUnixMilliseconds: UInt64?
  /// Samples wait after this stage, an index, to be released.
  package var holdAfter: UInt32?

  package init(
    tenant: String = JobTerms.defaultTenant, priority: Priority = .normal, deadlineUnixMilliseconds: UInt64? = nil, holdAfter: UInt32? = nil
  ) {
    self.tenant = tenant
    self.priority = priority
    self.deadlineUnixMilliseconds = deadlineUnixMilliseconds
    self.holdAfter = holdAfter
  }
}

/// Whose work competes with whose: tenants share what their priority class gets.
struct Share: Hashable, Comparable {
  var priority: Priority
  var tenant: String

  static func < (a: Self, b: Self) -> Bool { (a.priority, a.tenant) < (b.priority, b.tenant) }
}
