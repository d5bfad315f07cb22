import SeededRandom

/// One direction of a network between two machines: when each packet arrives, if it does. Times are in seconds.
struct Link {
  /// What waits for its turn before packets are dropped, in seconds of the line's rate: what routers have room for.
  private static let buffer = 0.1

  var quality: LinkQuality
  /// Nothing gets through.
  var isCut = false
  private var random: SplitMix64
  /// When the line has sent what it was given.
  private var free = 0.0

  init(_ quality: LinkQuality, seed: UInt64) {
    self.quality = quality
    random = SplitMix64(seed: seed)
  }

  /// - Returns: when a packet arrives that is sent now; never before those that were sent before. `nil`: it is lost.
  mutating func send(bytes: Int, at now: Double) -> Double? {
    // Drawn in any case, so that the same packets are lost whatever else happens to them.
    let isLost = random.unit() < quality.loss
    if isCut { return nil }
    guard let rate = quality.bitsPerSecond else { return isLost ? nil : now + quality.delay }
    guard free - now <= Self.buffer else { return nil }
    free = max(free, now) + Double(bytes * 8) / rate
    return isLost ? nil : free + quality.delay
  }
}
