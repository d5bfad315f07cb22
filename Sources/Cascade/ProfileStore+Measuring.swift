import Foundation
import Tensors

extension ProfileStore {
  /// How long a worker waits for others of this machine that measure.
  private static let patience = Duration.seconds(20)
  /// How often a stage is measured at a start: the first time other workers of the fleet may still be loading theirs.
  private static let attempts = 2

  /// A stage's profile as it runs here.
  ///
  /// - Parameters:
  ///   - limit: how long to measure once, about.
  ///   - note: told what has to be said beside it: about profiles that were of no use or could not be kept.
  package func profile(
    of engine: StageEngine, limit: Duration = StageProfile.limit, note: (String) -> Void
  ) throws(CascadeError) -> StageProfile {
    try profile(for: Key(engine), note: note) { () throws(CascadeError) in
      try StageProfile.measure(engine, limit: limit, freeBytes: engine.freeBytes.map { $0 / 2 })
    }
  }

  /// The profile that is kept under a key, or one that is measured now and kept. One that was measured while others had the processors is measured
  /// anew.
  func profile(
    for key: Key, note: (String) -> Void, measure: () throws(CascadeError) -> StageProfile
  ) throws(CascadeError) -> StageProfile {
    let known = load(key)
    if case .profile(let profile) = known, !profile.isDisturbed { return profile }
    return try takingTurns(patience: Self.patience) { () throws(CascadeError) -> StageProfile in
      let found = load(key)
      switch found {
      // Whoever had the turn before was after the same.
      case .profile(let profile) where found != known: return profile
      case .profile(let profile): note("the profile was \(profile.disturbance); measuring anew")
      case .unusable(let reason): note("\(reason); measuring anew")
      case .nothing: break
      }
      var profile = try measure()
      for _ in 1..<Self.attempts where profile.isDisturbed {
        let again = try measure()
        if (again.waited ?? 0) < (profile.waited ?? 0) { profile = again }
      }
      if profile.isDisturbed { note("the profile was \(profile.disturbance); the next start will measure again") }
      do {
        try save(profile, for: key)
      } catch {
        let reason = (error as? FileFailure).map { "\($0.operation): \($0.reason)" } ?? error.localizedDescription
        note("cannot keep the profile in \(path(key)) (\(reason)); the next start will measure again")
      }
      return profile
    }
  }
}

extension SlotChoice {
  /// For a stage as it runs here, from its profile; see `ProfileStore.profile`.
  package static func make(
    for engine: StageEngine, store: ProfileStore, limit: Duration = StageProfile.limit, note: (String) -> Void
  ) throws(CascadeError) -> SlotChoice {
    SlotChoice(try store.profile(of: engine, limit: limit, note: note), freeBytes: engine.freeBytes)
  }
}

extension StageEngine {
  /// Of the memory it computes in; `nil`: nothing is known of it, as of a GPU's.
  fileprivate var freeBytes: Int? { device.isCPU ? FreeMemory.bytes() : nil }
}
