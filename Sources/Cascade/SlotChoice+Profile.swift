import Foundation
import Tensors

extension SlotChoice {
  /// How long a worker waits for others of this machine that measure.
  private static let patience = Duration.seconds(20)

  /// For a stage as it runs here: from the profile in the store, or from one that is measured now and put there.
  ///
  /// - Parameters:
  ///   - limit: how long to measure, about.
  ///   - note: told what has to be said beside the choice: about files that were of no use or could not be written.
  package static func make(
    for engine: StageEngine, store: ProfileStore, limit: Duration = StageProfile.limit, note: (String) -> Void
  ) throws(CascadeError) -> SlotChoice {
    // Of a GPU's memory nothing is known here.
    let freeBytes = engine.device.isCPU ? FreeMemory.bytes() : nil
    let key = ProfileStore.Key(engine)
    if case .profile(let profile) = store.load(key) { return SlotChoice(profile, freeBytes: freeBytes) }
    let profile = try store.takingTurns(patience: patience) { () throws(CascadeError) -> StageProfile in
      switch store.load(key) {
      // Whoever had the turn before was after the same.
      case .profile(let profile): return profile
      case .unusable(let reason): note("\(reason); measuring anew")
      case .nothing: break
      }
      let profile = try StageProfile.measure(engine, limit: limit, freeBytes: freeBytes.map { $0 / 2 })
      do {
        try store.save(profile, for: key)
      } catch {
        let reason = (error as? FileFailure).map { "\($0.operation): \($0.reason)" } ?? error.localizedDescription
        note("cannot keep the profile in \(store.path(key)) (\(reason)); the next start will measure again")
      }
      return profile
    }
    return SlotChoice(profile, freeBytes: freeBytes)
  }
}
