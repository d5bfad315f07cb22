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

  private let shortest: Duration
  private let longest: Duration
  private var everReady = false
  private var pause: Duration
  private var earlySignals = 0

  /// - Parameters:
  ///   - shortest: the pause before the first restart.
  ///   - longest: the most it grows to.
  package init(shortest: Duration = Self.firstPause, longest: Duration = Self.longestPause) {
    self.shortest = shortest
    self.longest = longest
    pause = shortest
  }

  package mutating func ended(_ end: End, wasReady: Bool, after lifetime: Duration) -> Decision {
    everReady = everReady || wasReady
    if !everReady {
      guard case .signalled = end else { return .giveUp }
      earlySignals += 1
      if earlySignals >= Self.fatalSignals { return .giveUp }
    }
    if wasReady, lifetime >= Self.healthyAfter { pause = shortest }
    defer { pause = min(pause * 2, longest) }
    return .restart(after: pause)
  }
}
