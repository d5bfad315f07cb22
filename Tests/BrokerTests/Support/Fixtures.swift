import Digests
import SeededRandom
import Wire
import ZeroMQ

@testable import Broker

/// A network that is a hash: the same task life and digests as a real one, in no time.
enum Oracle {
  static func begin(label: UInt32, seed: UInt64, stage: Int, input: WireTensor?) -> UInt64 {
    var state = SplitMix64.mix(seed ^ UInt64(label) << 40 ^ UInt64(stage) << 56)
    if let input { for byte in input.data.bytes { state = SplitMix64.mix(state ^ UInt64(byte)) } }
    return state
  }

  static func step(_ state: UInt64, _ step: UInt32) -> UInt64 { SplitMix64.mix(state &+ UInt64(step)) }

  static func output(_ state: UInt64, resolution: UInt32, name: String = "x0") -> WireTensor {
    var random = SplitMix64(seed: state)
    let count = 3 * Int(resolution * resolution)
    return tensor(name, (0..<count).map { _ in Float.random(in: -1...1, using: &random) }, [3, resolution, resolution])
  }

  /// The whole chain of one sample.
  static func image(label: UInt32, seed: UInt64, pipeline: PipelineInfo, options: [StageOptions]) -> WireTensor? {
    var tensor: WireTensor?
    for (index, stage) in pipeline.stages.enumerated() {
      var state = begin(label: label, seed: seed, stage: index, input: tensor)
      for number in 1...(options[index].steps ?? 1) { state = step(state, number) }
      tensor = output(state, resolution: stage.resolution)
    }
    return tensor
  }
}

func tensor(_ name: String, _ floats: [Float], _ shape: [UInt32]) -> WireTensor {
  do { return try WireTensor(name: name, floats: floats, shape: shape) } catch { fatalError("\(error)") }
}

/// A checkpoint's one tensor, which holds the state of an `Oracle`.
func checkpointTensor(_ state: UInt64) -> WireTensor {
  let bytes = (0..<8).map { UInt8(truncatingIfNeeded: state >> (8 * $0)) }
  do {
    return try WireTensor(name: "checkpoint.x", dtype: .u8, shape: [8], data: Frame(bytes))
  } catch {
    fatalError("\(error)")
  }
}

func state(of tensor: WireTensor) -> UInt64 {
  tensor.data.bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
}

/// How it fails; `nil`: it doesn't, or not with an error of the journal's.
func code(_ body: () throws -> Void) -> JournalError.Code? {
  do {
    try body()
    return nil
  } catch {
    return (error as? JournalError)?.code
  }
}

func makePipeline(
  _ name: String = "toy", version: UInt8 = 1, stages: Int = 2, steps: UInt32 = 4, resolution: UInt32 = 1
) -> PipelineInfo {
  PipelineInfo(
    name: name, digest: sha256([version] + Array(name.utf8)), labels: ["clay", "wood", "7"],
    stages: (0..<stages).map { index in
      StageInfo(
        name: "stage\(index)", resolution: resolution << UInt32(index), trainSteps: 100, defaultSteps: steps, defaultSampler: "ddpm",
        defaultAug: index == 0 ? 0 : 10, takesAug: index > 0, defaultGuidance: index == 0 ? nil : 1.5)
    })
}

func makeHello(
  _ name: String, boot: UInt64 = 1, pipeline: PipelineInfo, stage: Int = 0, numerics: String = "cpu", slots: UInt32 = 1,
  prefetch: UInt32 = 0,
  bytes: UInt64 = 1 << 20, running: [TaskProgress] = []
) -> WorkerHello {
  WorkerHello(
    name: name, boot: boot, pipeline: pipeline, stage: pipeline.stages[stage].name, numerics: numerics, slots: slots, prefetch: prefetch,
    bytes: bytes,
    host: "here", pid: 1, running: running)
}

extension PeerID: ExpressibleByStringLiteral {
  public init(stringLiteral text: String) { self.init(Array(text.utf8)) }
}
