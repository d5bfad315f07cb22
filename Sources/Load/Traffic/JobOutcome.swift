package import Wire

/// What became of one job of a run. Times are seconds from the run's start.
package struct JobOutcome: Hashable, Sendable {
  package enum End: Hashable, Sendable {
    case done
    /// At least one of its samples was given up.
    case failed
    /// Its deadline could not be met, and it was stopped.
    case expired
    case cancelled
    /// `retryAfter`: in milliseconds; `nil`: the broker did not say.
    case refused(retryAfter: UInt32?)
    /// No answer that makes sense.
    case lost(String)
  }

  package var number: Int
  package var kind: Int
  package var samples: Int
  /// When it should have been submitted; in a closed loop, when it was.
  package var intended: Double
  package var submitted: Double
  /// `nil`: it was not.
  package var accepted: Double?
  package var ended: Double
  package var end: End
  package var job: JobID?
  package var verified = 0
  package var wrong: [WrongImage] = []
  /// Images that were to be compared with the oracle's, and that the broker does not have any more.
  package var missing = 0

  /// In seconds, from when it should have been submitted.
  package var latency: Double { ended - intended }
}

/// An image that is not what the oracle says.
package struct WrongImage: Hashable, Sendable, Codable {
  package var job: String
  package var sample: UInt32
  /// The first whose result is not the oracle's; empty: none is known.
  package var stage: String
  /// Who computed that, in which attempt at the stage.
  package var worker: String
  package var attempt: UInt32
  /// SHA-256 of what the stage's output should have been, and of what it was, in hexadecimal.
  package var expected, found: String
}
