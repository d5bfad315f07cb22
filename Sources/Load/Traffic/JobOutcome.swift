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

  /// In seconds, from when it should have been submitted.
  package var latency: Double { ended - intended }
}

/// An image that is not what the oracle says.
package struct WrongImage: Hashable, Sendable, Codable {
  package var job: String
  package var sample: UInt32
  /// The last attempt at it. The input that it was given may have been wrong already: the earlier stages' outputs are gone.
  package var stage: String
  package var worker: String
  package var attempt: UInt32
}
