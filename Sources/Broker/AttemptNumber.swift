/// How attempts at a stage of a sample are counted: from 1, and from 65,537 if the sample had to begin anew, from 131,073 the
/// next time, so that no number is given twice.
package enum AttemptNumber {
  private static let perLife: UInt32 = 1 << 16

  /// The number before the first of a sample that begins anew.
  package static func restart(after attempt: UInt32) -> UInt32 { none(asIn: attempt) &+ perLife }

  /// The number before the first in another stage of the same sample.
  package static func none(asIn attempt: UInt32) -> UInt32 { attempt & ~(perLife - 1) }

  /// How many attempts there were in the stage.
  static func count(_ attempt: UInt32) -> UInt32 { attempt & (perLife - 1) }

  /// How often the sample began anew.
  package static func restarts(_ attempt: UInt32) -> UInt32 { attempt / perLife }

  package static func isRestarted(_ attempt: UInt32) -> Bool { restarts(attempt) > 0 }
}
