/// The ids that a job's rows have.
struct JobPlace {
  /// Bits of an output's id that are the stage, and of a checkpoint tensor's that are the tensor.
  static let stageBits: Int64 = 3
  static let slotBits: Int64 = 4
  /// And of an attempt's that are the stage and the last bits of its number.
  static let attemptBits: Int64 = 7

  var row: Int64
  /// Number of its first sample.
  var first: Int64
  var count: Int64
  var stages: Int64
  /// Bytes of all outputs that it had so far.
  var bytes: Int64 = 0

  var samples: ClosedRange<Int64> { first...first + count - 1 }
  var outputs: ClosedRange<Int64> { first << Self.stageBits...((first + count) << Self.stageBits) - 1 }
  var checkpoints: ClosedRange<Int64> { first << Self.slotBits...((first + count) << Self.slotBits) - 1 }

  var attempts: ClosedRange<Int64> { first << Self.attemptBits...((first + count) << Self.attemptBits) - 1 }

  static func attempt(_ sample: Int64, _ stage: UInt32, _ number: UInt32) -> Int64 {
    sample << attemptBits | Int64(stage) << 4 | Int64(number & 15)
  }

  static func output(_ sample: Int64, _ stage: UInt32) -> Int64 { sample << stageBits | Int64(stage) }

  static func checkpoints(_ sample: Int64) -> ClosedRange<Int64> { sample << slotBits...((sample + 1) << slotBits) - 1 }
}

/// Jobs, neighbours on the disk, whose rows are being deleted because they are forgotten, or one that was cancelled, of which only the final
/// outputs stay.
struct Purge {
  private static let pageBytes: Int64 = 4_096

  private(set) var rows: ClosedRange<Int64>
  private(set) var first: Int64
  /// Samples that are left.
  private(set) var count: Int64
  private var bytes: Int64
  /// The jobs' endings say that they are forgotten.
  var isMarked = false
  /// Of a job that was cancelled: its number of stages.
  let stagesOfCancelled: Int64?

  init(_ place: JobPlace, isMarked: Bool = false) {
    self.init(place, isMarked: isMarked, stagesOfCancelled: nil)
  }

  init(cancelled place: JobPlace) {
    self.init(place, isMarked: true, stagesOfCancelled: place.stages)
  }

  private init(_ place: JobPlace, isMarked: Bool, stagesOfCancelled: Int64?) {
    self.stagesOfCancelled = stagesOfCancelled
    rows = place.row...place.row
    first = place.first
    count = place.count
    bytes = place.bytes
    self.isMarked = isMarked
  }

  func isFollowed(by place: JobPlace) -> Bool {
    !isMarked && place.row == rows.upperBound + 1 && place.first == first + count
  }

  mutating func append(_ place: JobPlace) {
    rows = rows.lowerBound...place.row
    count += place.count
    bytes += place.bytes
  }

  /// The next samples to delete.
  ///
  /// - Parameter budget: rows, or pages of their tensors, whichever is more; what the slice takes is taken off.
  mutating func takeSlice(_ budget: inout Int) -> JobPlace {
    let pages = bytes / Self.pageBytes / count + 1
    let part = min(count, max(1, Int64(budget) / pages))
    let slice = JobPlace(row: rows.lowerBound, first: first, count: part, stages: 0)
    budget -= Int(part * pages)
    bytes -= bytes / count * part
    first += part
    count -= part
    return slice
  }
}
