import Glibc
import SeededRandom

/// How jobs arrive.
package enum ArrivalPattern: Sendable {
  /// So many jobs are open at any time: the next is submitted when one ends. Shows what a fleet can do, and hides how long one waits.
  case closed(concurrency: Int)
  /// Evenly spaced, `rate` jobs a second.
  case constant(rate: Double)
  /// Independent of each other, `rate` jobs a second.
  case poisson(rate: Double)
  /// Gaps of a gamma distribution with the mean 1 / `rate`: in bunches if the shape is below 1, Poisson at 1, steadier above.
  case gamma(rate: Double, shape: Double)
  /// `size` at a time, the groups independent of each other, `rate` jobs a second in the mean.
  case burst(rate: Double, size: Int)
  /// Poisson, the rate rising evenly over the run.
  case ramp(from: Double, to: Double)
  /// At these times, in seconds, ascending, of these kinds.
  case trace([(time: Double, kind: Int)])
}

/// When the jobs of an open loop are meant to be submitted, in seconds from its start, ascending, up to a duration. The same seed gives the same.
package struct Arrivals: Sequence, IteratorProtocol, Sendable {
  private let pattern: ArrivalPattern
  private let duration: Double
  private var random: SplitMix64
  private var time = 0.0
  private var leftOfBurst = 0

  /// - Parameter duration: in seconds.
  package init(_ pattern: ArrivalPattern, duration: Double, seed: UInt64) {
    self.pattern = pattern
    self.duration = duration
    random = SplitMix64(seed: seed)
  }

  /// `nil`: no more in the duration. A closed loop has none, and a trace its own.
  package mutating func next() -> Double? {
    switch pattern {
    case .closed, .trace: return nil
    case .constant(let rate): time += 1 / rate
    case .poisson(let rate): time += exponential() / rate
    case .gamma(let rate, let shape): time += gamma(shape) / shape / rate
    case .burst(let rate, let size):
      if leftOfBurst == 0 {
        leftOfBurst = size
        time += exponential() * Double(size) / rate
      }
      leftOfBurst -= 1
    case .ramp(let from, let to):
      // Thinning: candidates at the highest rate, each kept with the probability that the rate of its time has of it.
      let highest = Swift.max(from, to)
      repeat {
        time += exponential() / highest
      } while time < duration && random.unit() * highest > Self.rate(from, to, at: time, of: duration)
    }
    return time < duration ? time : nil
  }

  /// Of a ramp, in jobs a second.
  static func rate(_ from: Double, _ to: Double, at time: Double, of duration: Double) -> Double {
    from + (to - from) * time / duration
  }

  /// Of mean 1.
  private mutating func exponential() -> Double { -log(1 - random.unit()) }

  /// Of mean `shape`. Marsaglia and Tsang, "A simple method for generating gamma variables", 2000.
  private mutating func gamma(_ shape: Double) -> Double {
    // What a shape below 1 lacks, a power of a uniform number makes up for.
    guard shape >= 1 else { return gamma(shape + 1) * pow(1 - random.unit(), 1 / shape) }
    let d = shape - 1.0 / 3
    let c = 1 / (9 * d).squareRoot()
    while true {
      let x = (-2 * log(1 - random.unit())).squareRoot() * cos(2 * .pi * random.unit())
      let v = (1 + c * x) * (1 + c * x) * (1 + c * x)
      if v > 0, log(1 - random.unit()) < x * x / 2 + d - d * v + d * log(v) { return d * v }
    }
  }
}
