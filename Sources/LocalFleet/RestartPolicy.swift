/// Decides what happens after a child process ended by itself.
///
/// One that never got ready and ends with a status of its own has said what is wrong: it isn't started again. Any other is, after 1 s,
/// doubling up to 30 s, and after 1 s again once it has been well for a while.
package struct RestartPolicy: Hashable, Sendable {
  package enum End: Hashable, Sendable {
    case exited(Int32)
    case signalled(Int32)
  }

  package enum Decision: Hashable, Sendable {
    case restart(after: Duration)
    case giveUp
  }

  package static let firstPause = Duration.seconds(1)
  package static let longestPause = Duration.seconds(30)
  /// One that was ready and lived this long was well.
  package static let healthyAfter = Duration.seconds(10)
  /// Deaths by signal, before it was ready even once, that end the patience.
  package static let fatalSignals = 5

  private var everReady = false
  private var pause = Self.firstPause
  private var earlySignals = 0

  package init() {}

  package mutating func ended(_ end: End, wasReady: Bool, after lifetime: Duration) -> Decision {
    everReady = everReady || wasReady
    if !everReady {
      guard case .signalled = end else { return .giveUp }
      earlySignals += 1
      if earlySignals >= Self.fatalSignals { return .giveUp }
    }
    if wasReady, lifetime >= Self.healthyAfter { pause = Self.firstPause }
    defer { pause = min(pause * 2, Self.longestPause) }
    return .restart(after: pause)
  }
}
