import Foundation
import GRDB
import Wire

/// How values of the wire are written in a journal's columns. Their own types, so that the wire can change without the files.
struct StageRow: Codable {
  var name: String
  var resolution: UInt32
  var trainSteps: UInt32
  var defaultSteps: UInt32
  var defaultSampler: String
  var defaultAug: UInt32
  var takesAug: Bool
  /// Absent in files of old, too.
  var defaultGuidance: Double?

  init(_ stage: StageInfo) {
    name = stage.name
    resolution = stage.resolution
    trainSteps = stage.trainSteps
    defaultSteps = stage.defaultSteps
    defaultSampler = stage.defaultSampler
    defaultAug = stage.defaultAug
    takesAug = stage.takesAug
    defaultGuidance = stage.defaultGuidance
  }

  var value: StageInfo {
    StageInfo(
      name: name, resolution: resolution, trainSteps: trainSteps, defaultSteps: defaultSteps, defaultSampler: defaultSampler,
      defaultAug: defaultAug, takesAug: takesAug, defaultGuidance: defaultGuidance)
  }
}

struct OptionsRow: Codable {
  var stage: String
  var steps: UInt32
  var sampler: String
  var eta: Double
  var aug: UInt32
  /// Absent in files of old, too.
  var guidance: Double?

  init(_ options: StageOptions) {
    stage = options.stage
    steps = options.steps ?? 0
    sampler = options.sampler ?? ""
    eta = options.eta ?? 0
    aug = options.aug ?? 0
    guidance = options.guidance
  }

  var value: StageOptions { StageOptions(stage: stage, steps: steps, sampler: sampler, eta: eta, aug: aug, guidance: guidance) }
}

/// Numbers in the `state` and `dtype` columns.
extension JobState {
  var journalCode: Int {
    switch self {
    case .queued: 1
    case .running: 2
    case .done: 3
    case .failed: 4
    case .cancelled: 5
    case .held: 6
    case .expired: 7
    }
  }

  init?(journalCode: Int) {
    switch journalCode {
    case 3: self = .done
    case 4: self = .failed
    case 5: self = .cancelled
    case 7: self = .expired
    default: return nil
    }
  }
}

extension Priority {
  var journalCode: Int {
    switch self {
    case .low: 1
    case .normal: 2
    case .high: 3
    }
  }

  init?(journalCode: Int) {
    guard let priority = Self.allCases.first(where: { $0.journalCode == journalCode }) else { return nil }
    self = priority
  }
}

extension WireTensor.DType {
  var journalCode: Int {
    switch self {
    case .f32: 1
    case .u8: 2
    }
  }

  init?(journalCode: Int) {
    switch journalCode {
    case 1: self = .f32
    case 2: self = .u8
    default: return nil
    }
  }
}

/// The shape of a tensor as a row has it.
enum ShapeText {
  static func encode(_ shape: [UInt32]) -> String { shape.map(String.init).joined(separator: ",") }

  static func decode(_ text: String) -> [UInt32] { text.split(separator: ",").compactMap { UInt32($0) } }

  /// Bytes of a tensor that a row tells of; `nil`: there is no such tensor.
  static func byteCount(dtype: Int64, shape: String) -> Int? {
    WireTensor.DType(journalCode: Int(truncatingIfNeeded: dtype)).flatMap { WireTensor.byteCount($0, decode(shape)) }
  }
}

extension UInt64 {
  /// SQLite's integers have a sign.
  var journalValue: Int64 { Int64(bitPattern: self) }

  init(journalValue: Int64) { self.init(bitPattern: journalValue) }
}

func journalText(_ value: some Encodable) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = .sortedKeys
  return String(decoding: try encoder.encode(value), as: UTF8.self)
}

func journalValue<Value: Decodable>(_: Value.Type, _ text: String) throws -> Value {
  try JSONDecoder().decode(Value.self, from: Data(text.utf8))
}
